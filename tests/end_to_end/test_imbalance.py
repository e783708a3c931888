"""Bins drawn less equally, a loss and a prior that undo imbalance: from the command line on."""

import json
import os
import signal

import jax
import numpy as np
import pytest

from tests.end_to_end.conftest import final_state, numbers, steps_saved, wait_for
from tests.end_to_end.test_bad_input import assert_refused

# The head of steering is a classification, see TINY.
FIELDS = {
    "num_steps": 12,
    "drive.tracks": 0,
    "balance_power": 0.75,
    "balance_smoothing": 0.1,
    "balance_limit": 2.0,
    "heads.steering.prior": "recorded",
    "heads.throttle.loss": "balanced_squared",
    "heads.throttle.noise": 0.2,
}


@pytest.fixture(scope="module")
def finished(launch, tmp_path_factory):
    """A finished run and what it printed."""
    workdir = tmp_path_factory.mktemp("imbalance") / "run"
    done = launch("train", workdir=workdir, **FIELDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return workdir, done.stdout


def test_what_is_drawn_and_learned_is_said(finished):
    workdir, printed = finished
    assert "under the recorded prior" in printed
    assert "throttle: 2 x balanced_squared error (noise 0.2)" in printed
    balance = json.loads((workdir / "balance.json").read_text())
    settings = {name: balance[name] for name in ("power", "smoothing", "limit")}
    assert settings == {"power": 0.75, "smoothing": 0.1, "limit": 2.0}
    for name, head in balance["heads"].items():
        assert head["draws"]["repeats"] <= 2 * (1 + 1 / 16)
        assert f"Draws of {name}: the most-drawn view is drawn" in printed
    assert "Without the limit of 2 these were" in (workdir / "report.html").read_text()
    table = (workdir / "balance.txt").read_text()
    assert "Balance v2 (power 0.75, smoothing 0.1, limit 2); every" in table
    evaluation = json.loads((workdir / "evaluation.json").read_text())
    assert evaluation["learning"]["steering"].endswith("under the recorded prior")
    # The loss that is minimised is no squared error, but on its scale.
    last = numbers(workdir)[-1]
    assert last["train/throttle/loss"] < last["train/throttle/mse"]


def test_evaluating_and_driving_decide_as_held_out_frames_did(finished, launch, tmp_path):
    workdir, _ = finished
    step = steps_saved(workdir)[-1]
    line = next(line for line in numbers(workdir) if line["step"] == step)

    def errors(**fields):
        done = launch("evaluate", f"--step={step}", "--split=validation", workdir=workdir, **fields)
        assert done.returncode == 0, done.stderr
        heads = json.loads((workdir / "evaluation.json").read_text())["heads"]
        return {name: head["natural"]["mse"] for name, head in heads.items()}

    recorded, drawn = errors(), errors(**{"heads.steering.prior": "drawn"})
    for name, error in recorded.items():
        np.testing.assert_allclose(error, line[f"validation/{name}/mse"], rtol=1e-5)
    assert drawn["steering"] != pytest.approx(recorded["steering"], rel=1e-4)
    assert drawn["throttle"] == recorded["throttle"]

    # Nothing of the dataset is there.
    fields = {"data.dir": tmp_path / "nowhere"}
    scores = {}
    for prior in ("recorded", "drawn"):
        done = launch(
            "drive", "--tracks=1", workdir=workdir, **fields, **{"heads.steering.prior": prior}
        )
        assert done.returncode == 0, done.stderr
        scores[prior] = json.loads((workdir / "drive.json").read_text())["tracks"]
    assert scores["recorded"] != scores["drawn"]


def test_killed_and_resumed_ends_with_the_same_bits(finished, launch, tmp_path):
    workdir = tmp_path / "killed"
    running = launch.start("train", workdir=workdir, **FIELDS)
    wait_for(lambda: max(steps_saved(workdir), default=0) >= 4, running)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    assert max(steps_saved(workdir)) < FIELDS["num_steps"]
    done = launch("train", workdir=workdir, **FIELDS)
    assert done.returncode == 0, done.stderr
    for left, right in zip(
        jax.tree.leaves(final_state(workdir)),
        jax.tree.leaves(final_state(finished[0])),
        strict=True,
    ):
        np.testing.assert_array_equal(left, right)
    assert numbers(workdir) == numbers(finished[0])


def test_a_checkpoint_without_shares_keeps_the_prior_that_it_drew(finished, launch):
    """As earlier versions saved them."""
    workdir, _ = finished
    step = steps_saved(workdir)[-1]
    (meta,) = (workdir / "checkpoints" / str(step) / "meta").glob("metadata")
    whole = meta.read_text()
    told = json.loads(whole)
    assert told["bin_shares"].keys() == {"brake", "steering", "throttle"}
    del told["bin_shares"]
    meta.write_text(json.dumps(told))
    done = launch("evaluate", f"--step={step}", workdir=workdir)
    drawn = {"heads.steering.prior": "drawn"}
    other = launch("evaluate", f"--step={step}", workdir=workdir, **drawn)
    meta.write_text(whole)
    assert_refused(done, f"checkpoint {step}", "does not say how often", "Leave the prior at")
    assert other.returncode == 0, other.stderr


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("balance_smoothing", -0.1, "config.balance_smoothing has to be a standard deviation"),
        ("heads.throttle.noise", 0, "config.heads.throttle.noise must be positive, found 0.0"),
        ("heads.steering.prior", "even", "prior='even' is not known: one of drawn, recorded"),
        ("heads.brake.prior", "recorded", "a regression gives none: leave it at 'drawn'"),
    ],
)
def test_values_that_mean_nothing_are_refused(launch, tmp_path, field, value, told):
    workdir = tmp_path / "run"
    assert_refused(launch("train", workdir=workdir, **{field: value}), told)
    assert not (workdir / "config.json").exists()
