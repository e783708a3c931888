"""A run that averages its parameters, through the command line."""

import json
import os
import signal

import jax
import numpy as np
import pytest
from etils import epath

from jaxdrive.training import checkpoint
from tests.end_to_end.conftest import final_state, numbers, steps_saved, wait_for
from tests.end_to_end.test_bad_input import assert_refused
from tests.end_to_end.test_train import assert_same_bits

AVERAGED = {"optim.ema": 0.9, "drive.tracks": 0}


@pytest.fixture(scope="module")
def averaged(launch, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("averaged") / "run"
    done = launch("train", workdir=workdir, **AVERAGED)
    assert done.returncode == 0, done.stdout + done.stderr
    return workdir


def model_saved(workdir, step):
    with checkpoint.open_manager(epath.Path(workdir), read_only=True) as manager:
        device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        return jax.device_get(checkpoint.restore_any_model(manager, step, device))


def test_training_is_the_same_and_what_is_measured_and_saved_is_the_average(
    averaged, trained, launch
):
    state, plain = final_state(averaged), final_state(trained)
    assert_same_bits(model_saved(averaged, 24), (state.average, state.batch_stats))
    for a, b in zip(*map(jax.tree.leaves, (state.params, plain.params)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    distances = [
        np.linalg.norm(a - b)
        for a, b in zip(*map(jax.tree.leaves, (state.average, state.params)), strict=True)
    ]
    assert min(distances) > 0

    step = 16
    done = launch("evaluate", "--split=validation", f"--step={step}", workdir=averaged)
    assert done.returncode == 0, done.stderr
    result = json.loads((averaged / "evaluation.json").read_text())
    measured, without = (
        next(line for line in numbers(folder) if line["step"] == step)
        for folder in (averaged, trained)
    )
    np.testing.assert_allclose(measured["train/loss"], without["train/loss"], rtol=1e-4)
    for head, values in result["heads"].items():
        name = f"validation/{head}/mse"
        np.testing.assert_allclose(values["natural"]["mse"], measured[name], rtol=1e-5)
        assert abs(measured[name] / without[name] - 1) > 1e-4


def test_killed_and_resumed_ends_with_the_same_bits(averaged, launch, tmp_path):
    running = launch.start("train", workdir=tmp_path, **AVERAGED)
    wait_for(lambda: max(steps_saved(tmp_path), default=0) >= 4, running)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    assert max(steps_saved(tmp_path)) < 24
    done = launch("train", workdir=tmp_path, **AVERAGED)
    assert done.returncode == 0, done.stderr
    assert "Going on from the checkpoint of step" in done.stdout
    assert final_state(tmp_path).average is not None
    assert_same_bits(final_state(tmp_path), final_state(averaged))
    assert numbers(tmp_path) == numbers(averaged)


def test_the_decay_may_change_but_not_from_or_to_zero(averaged, launch):
    fields = AVERAGED | {"num_steps": 28}
    done = launch("train", workdir=averaged, **fields | {"optim.ema": 0.0})
    assert_refused(done, "optim.ema: 0.9 there, 0.0 now", "another --workdir")
    done = launch("train", workdir=averaged, **fields | {"optim.ema": 1.0})
    assert_refused(done, "config.optim.ema has to be from 0 to 0.99999, found 1.0")
    done = launch("train", workdir=averaged, **fields | {"optim.ema": 0.5})
    assert done.returncode == 0, done.stderr
    assert "Changed at step 24: config.optim.ema: 0.9 -> 0.5" in done.stdout
