"""Training in short sittings: what may change on the way does, what may not is refused."""

import json

import numpy as np
import pytest

from tests.end_to_end.conftest import final_state, numbers, steps_saved

SHORT = {
    "eval_every": 50,
    "checkpoint_every": 50,
    "log_every": 50,
    "keep_every": 0,
    "gradients_every": 100,
    "drive.tracks": 0,
}


@pytest.fixture(scope="module")
def first_sitting(launch, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("sittings") / "run"
    fields = SHORT | {"num_steps": 100, "optim.schedule": "constant"}
    done = launch("train", workdir=workdir, **fields)
    assert done.returncode == 0, done.stderr
    return workdir, fields


def test_a_hundred_steps_then_to_two_hundred_at_a_tenth_of_the_rate(first_sitting, launch):
    workdir, fields = first_sitting
    changes = {
        "num_steps": 200,
        "optim.learning_rate": 1e-4,
        "log_every": 25,
        "augment.shift.sideways": 4,
        "augment.flip.probability": 0,
        "augment.shadow.probability": 0.5,
        "views": "none",
    }
    done = launch("train", workdir=workdir, **fields | changes)
    assert done.returncode == 0, done.stderr
    assert "Going on from the checkpoint of step 100" in done.stdout
    assert "Changed at step 100: config.optim.learning_rate: 0.001 -> 0.0001" in done.stdout
    recorded = json.loads((workdir / "run.json").read_text())["changes"]
    assert {change["field"] for change in recorded} == changes.keys()
    assert {change["step"] for change in recorded} == {100}

    lines = numbers(workdir)
    assert [line["step"] for line in lines] == [50, 100, 125, 150, 175, 200]
    compared = [s["step"] for s in lines if "train/gradient_cosine_brake_steering" in s]
    assert compared == [100, 200]
    rates = [line["train/learning_rate"] for line in lines]
    np.testing.assert_allclose(rates, [1e-3] * 2 + [1e-4] * 4, rtol=1e-6)
    assert [line["train/samples_per_head"] for line in lines] == [8 * s["step"] for s in lines]
    frames = json.loads((workdir / "run.json").read_text())["samples_per_epoch"]
    assert lines[-1]["train/epoch"] == 1600 / frames
    state = final_state(workdir)
    assert (state.step, state.position) == (200, 200)
    assert 200 in steps_saved(workdir)


@pytest.mark.parametrize(
    ("change", "before"),
    [
        ({"model.channels": "(4,8)"}, r"model.channels: [4, 8, 8] there, [4, 8] now"),
        ({"heads.steering.scale": 1.0}, "heads.steering.scale: 0.4 there, 1.0 now"),
        ({"optim.name": "sgd"}, "optim.name: 'adam' there, 'sgd' now"),
        ({"data.episodes": 2}, "data.episodes: 1 there, 2 now"),
        ({"data.fraction": 0.5}, "data.fraction: 1.0 there, 0.5 now"),
    ],
)
def test_model_heads_and_data_may_not_change(first_sitting, launch, change, before):
    workdir, fields = first_sitting
    done = launch("train", workdir=workdir, **fields | {"num_steps": 300} | change)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert before in done.stderr


def test_fewer_steps_than_were_made_are_refused(first_sitting, launch):
    workdir, fields = first_sitting
    done = launch("train", workdir=workdir, **fields | {"num_steps": "1 epoch"})
    assert done.returncode == 1
    assert "past config.num_steps=" in done.stderr


def test_a_run_that_learns_no_more_stops_early_and_stays_stopped(launch, tmp_path):
    """At a rate of 0, and without averages of batches, no skill rises after the first measurement.

    The average of parameters that do not change stays the same, to the last bit.
    """
    fields = SHORT | {
        "num_steps": "100 epochs",
        "eval_every": "1 epoch",
        "checkpoint_every": "1 epoch",
        "optim.learning_rate": 0.0,
        "optim.ema": 0.9,
        "model.batch_norm.use": False,
        "early_stopping.patience": "2 epochs",
        "data.fraction": 0.5,
        "views": "none",
    }
    done = launch("train", workdir=tmp_path / "run", **fields)
    assert done.returncode == 0, done.stderr
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    epoch = run["durations"]["eval_every"]
    # Half of the frames that one episode of 60 steps has.
    assert run["samples_per_epoch"] == 15
    assert epoch == round(15 / 8)
    assert run["stopped"].startswith(f"Stopped early at step {3 * epoch}: the held-out skill has")
    assert run["stopped"] in done.stdout
    assert max(steps_saved(tmp_path / "run")) == 3 * epoch

    again = launch("train", workdir=tmp_path / "run", **fields)
    assert again.returncode == 0, again.stderr
    assert run["stopped"] in again.stdout
    assert max(steps_saved(tmp_path / "run")) == 3 * epoch
