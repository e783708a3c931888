"""The main job, end to end: record, train, evaluate, drive, report; killed, stopped and resumed."""

import base64
import json
import os
import signal

import jax
import numpy as np

from tests.end_to_end.conftest import TINY, final_state, numbers, steps_saved, wait_for


def assert_same_bits(a, b) -> None:
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(left, right)


def test_one_command_does_everything(trained, launch):
    evaluation = json.loads((trained / "evaluation.json").read_text())
    assert evaluation["split"] == "test"
    assert evaluation["step"] in steps_saved(trained)
    for head in ("steering", "throttle", "brake"):
        for kind in ("natural", "balanced"):
            assert evaluation["heads"][head][kind].keys() == {"mse", "mae", "skill"}
    last = numbers(trained)[-1]
    weighted = {"steering": 1, "throttle": 2, "brake": 1}
    total = sum(weight * last[f"train/{head}/loss"] for head, weight in weighted.items())
    np.testing.assert_allclose(last["train/loss"], total, rtol=1e-12)
    # Cross-entropy of 21 bins, Huber loss, squared error.
    assert last["train/steering/loss"] > 1 > last["train/steering/mse"]
    assert last["train/throttle/loss"] < last["train/throttle/mse"] / 2
    np.testing.assert_allclose(last["train/brake/loss"], last["train/brake/mse"], rtol=1e-5)
    names = ("brake", "steering", "throttle")
    for line in numbers(trained):
        assert all(line[f"train/{head}/alarm"] in (0, 1) for head in names)
    correlation = evaluation["correlation"]
    assert correlation["labels"].keys() == correlation["predictions"].keys() == set(names)
    assert [pair["heads"] for pair in correlation["together"]] == [["brake", "throttle"]]
    driven = json.loads((trained / "drive.json").read_text())
    assert [track["seed"] for track in driven["tracks"]] == [0]
    assert driven["mean"] == driven["tracks"][0]["score"]
    assert {"score", "finished"} <= driven["tracks"][0].keys()
    assert (trained / "drive.mp4").stat().st_size > 10_000
    sheet = base64.b64encode((trained / "heldout.png").read_bytes()).decode()
    assert f'src="data:image/png;base64,{sheet}"' in (trained / "report.html").read_text()
    assert "</html>" in (trained / "report.html").read_text()
    run = json.loads((trained / "run.json").read_text())
    total = json.loads((trained / "model.json").read_text())["total"]
    assert total["trainable"] == run["parameters"]
    assert f"{total['trainable']:,}" in (trained / "model.txt").read_text().splitlines()[-1]
    assert (trained / "model.png").read_bytes().startswith(b"\x89PNG")
    assert [line["step"] for line in numbers(trained)] == list(range(4, 25, 4))

    before = (trained / "drive.json").stat().st_mtime_ns
    again = launch("train", workdir=trained)
    assert again.returncode == 0, again.stderr
    assert "Training is finished: step 24 of 24" in again.stdout
    assert (trained / "drive.json").stat().st_mtime_ns == before


def test_killed_and_resumed_ends_with_the_same_bits(trained, launch, tmp_path):
    workdir = tmp_path / "killed"
    for least in (4, 12):
        running = launch.start("train", workdir=workdir)
        wait_for(lambda least=least: max(steps_saved(workdir), default=0) >= least, running)
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        assert max(steps_saved(workdir)) < TINY["num_steps"]
    done = launch("train", workdir=workdir)
    assert done.returncode == 0, done.stderr
    assert "Going on from the checkpoint of step" in done.stdout
    assert_same_bits(final_state(workdir), final_state(trained))
    assert numbers(workdir) == numbers(trained)
    for name in ("evaluation.json", "drive.json"):
        results = [json.loads((folder / name).read_text()) for folder in (workdir, trained)]
        for result in results:
            result.pop("images_per_second", None)
            result.pop("predictions_per_second", None)
        assert results[0] == results[1]


def test_ctrl_c_saves_the_step_at_hand(trained, launch, tmp_path):
    workdir = tmp_path / "stopped"
    fields = {"drive.tracks": 0}
    running = launch.start("train", workdir=workdir, checkpoint_every=1000, eval_every=0, **fields)
    metrics = workdir / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.read_text().count("\n") >= 1, running)
    os.killpg(running.pid, signal.SIGINT)
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 130, output
    assert "Traceback" not in output
    step = max(steps_saved(workdir))
    assert f"stopped by SIGINT at step {step}, which is saved" in output
    done = launch("train", workdir=workdir, **fields)
    assert done.returncode == 0, done.stderr
    assert f"Going on from the checkpoint of step {step}" in done.stdout
    assert_same_bits(final_state(workdir), final_state(trained))


def test_pmap_trains_saves_and_resumes(trained, launch, tmp_path):
    """On two devices the numbers of one device; then it goes on under shard_map on four."""
    workdir = tmp_path / "pmap"
    undriven = {"drive.tracks": 0}
    first = launch("train", workdir=workdir, devices=2, partition="pmap", **undriven)
    assert first.returncode == 0, first.stderr
    for a, b in zip(numbers(workdir), numbers(trained), strict=True):
        assert a["train/steering/drawn"] == b["train/steering/drawn"]
        np.testing.assert_allclose(a["train/loss"], b["train/loss"], rtol=1e-3)
    second = launch("train", workdir=workdir, devices=4, num_steps=28, **undriven)
    assert second.returncode == 0, second.stderr
    assert "Going on from the checkpoint of step 24" in second.stdout
    assert "config.partition: 'pmap' -> 'shard_map'" in second.stdout
    assert final_state(workdir).step == 28


def test_evaluate_and_drive_need_the_workdir_alone(trained, launch, tmp_path):
    """On another number of devices, another split, another step, and other recordings."""
    step = steps_saved(trained)[0]
    evaluation = (trained / "evaluation.json").read_bytes()
    done = launch("evaluate", "--split=validation", f"--step={step}", workdir=trained, devices=4)
    assert done.returncode == 0, done.stderr
    result = json.loads((trained / "evaluation.json").read_text())
    assert (result["split"], result["step"]) == ("validation", step)
    line = next(line for line in numbers(trained) if line["step"] == step)
    for head, values in result["heads"].items():
        np.testing.assert_allclose(
            values["natural"]["mse"], line[f"validation/{head}/mse"], rtol=1e-5
        )

    other = launch("prepare", workdir=tmp_path, **{"data.test_episodes": 2})
    assert other.returncode == 0, other.stderr
    folder = next(line for line in other.stdout.splitlines() if "Dataset ready in" in line)
    folder = folder.split()[3].rstrip(":")
    for field, value in (("data.prepared", folder), ("data.test_episodes", 2)):
        done = launch("evaluate", workdir=trained, **{field: value})
        assert done.returncode == 0, done.stderr
        assert json.loads((trained / "evaluation.json").read_text())["frames"] == 60
        # What was asked for needs no remark.
        told = "The run was trained on the dataset" in done.stdout
        assert told == (field != "data.prepared")
    (trained / "evaluation.json").write_bytes(evaluation)

    done = launch("drive", "--steps=8,24", "--tracks=1", workdir=trained)
    assert done.returncode == 0, done.stderr
    ages = json.loads((trained / "drive_steps.json").read_text())["ages"]
    assert [age["step"] for age in ages] == [8, 24]

    driven = (trained / "drive.json").read_bytes()
    done = launch("drive", "--domain_randomize", "--tracks=1", workdir=trained)
    assert done.returncode == 0, done.stderr
    assert json.loads((trained / "drive_recoloured.json").read_text())["domain_randomize"]
    assert (trained / "drive_recoloured.mp4").stat().st_size > 10_000
    assert (trained / "drive.json").read_bytes() == driven
