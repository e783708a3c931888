"""Two runs of other scale, balance and batch size, compared as a user does it."""

import json

import filelock
import pytest

from jaxdrive import workdir as workdirs
from tests.end_to_end.test_bad_input import assert_refused, contents

KINDS = ("natural", "balanced")


def test_runs_are_compared_and_left_as_they_are(launch, trained, tmp_path):
    other = tmp_path / "wide"
    fields = {"heads.steering.scale": 1.0, "balance": "none", "batch_size": 4, "drive.tracks": 0}
    # Where programs are kept is no difference between runs.
    fields |= {"compilation_cache": "off"}
    done = launch("train", workdir=other, num_steps=4, eval_every=4, **fields)
    assert done.returncode == 0, done.stderr
    before = contents(trained), contents(other)
    output = tmp_path / "out"
    # As while it is still training.
    with filelock.FileLock(trained / ".lock"):
        done = launch("compare", f"--workdirs={trained},{other}", workdir=output)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (contents(trained), contents(other)) == before

    result = json.loads((output / "compare.json").read_text())
    first, second = result["runs"]
    assert (first["name"], second["name"]) == (trained.name, "wide")
    assert first["frame_set"] == second["frame_set"] == 1
    evaluated = json.loads((trained / "evaluation.json").read_text())
    assert first["step"] == evaluated["step"]
    for head, scores in evaluated["heads"].items():
        for kind in KINDS:
            for name in ("mae", "skill"):
                # A skill is a difference from 1.
                assert first["heads"][head][kind][name] == pytest.approx(
                    scores[kind][name], abs=1e-6
                )
    # Bins are those of the first run, natural is the same whoever is first.
    evaluated = json.loads((other / "evaluation.json").read_text())["heads"]["steering"]
    steering = second["heads"]["steering"]
    assert steering["natural"]["skill"] == pytest.approx(evaluated["natural"]["skill"], abs=1e-6)
    assert steering["balanced"]["skill"] != pytest.approx(evaluated["balanced"]["skill"])
    driving = json.loads((trained / "drive.json").read_text())
    assert first["driving"]["mean"] == driving["mean"]
    assert second["driving"] is None
    assert second["samples_per_head"] == 16
    fields = {row["field"] for row in result["differences"]}
    wanted = {"balance", "batch_size", "drive.tracks", "eval_every", "num_steps"}
    assert fields == wanted | {"heads.steering.scale"}

    for name in ("compare.html", "compare.png", "compare_results.png", "compare_by_samples.png"):
        assert (output / name).stat().st_size > 1000
    told = " ".join(done.stdout.split())
    assert "Beware: The runs divide the label of steering into different bins" in told
    assert f"balanced = over the bins of {trained.name}" in told
    assert "heads.steering.scale 0.4 1.0" in told
    assert str(output / "compare.html") in told


def test_what_cannot_be_compared_is_named(launch, trained, tmp_path):
    nothing, output = tmp_path / "nothing", tmp_path / "out"
    done = launch("compare", f"--workdirs={trained},{nothing}", workdir=output)
    assert_refused(done, f"{nothing} holds no run")
    (nothing / "checkpoints").mkdir(parents=True)
    config = workdirs.read_json(trained / "config.json")
    workdirs.write_json(nothing / "config.json", config)
    done = launch("compare", f"--workdirs={trained},{nothing}", workdir=output)
    assert_refused(done, f"there is no checkpoint in {nothing}")
    assert not output.exists()
