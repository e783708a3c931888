"""Durations are read as steps or epochs, wherever a configuration holds one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import default
from jaxdrive.durations import durations_of, in_steps, resolve
from jaxdrive.errors import UserError


@given(st.integers(0, 10**6), st.floats(0.01, 10**4))
def test_steps_are_steps_however_they_are_written(number, steps_per_epoch):
    for written in (number, float(number), f"{number} steps", f" {number}step "):
        assert in_steps("num_steps", written, steps_per_epoch) == number


@given(st.integers(1, 1000), st.integers(1, 1000), st.integers(1, 64))
def test_an_epoch_is_one_pass_s_worth_of_frames(epochs, frames, batch_size):
    steps = in_steps("num_steps", f"{epochs} epochs", frames / batch_size)
    assert steps >= 1
    # Within half a step of as many draws as there are frames, but never no step at all.
    assert abs(steps * batch_size - epochs * frames) <= batch_size / 2 or steps == 1


@pytest.mark.parametrize(
    "written", ["soon", "-1 epochs", "epochs", "1.5 steps", 1.5, -1, None, True, float("nan"), (3,)]
)
def test_what_is_no_duration_is_named(written):
    with pytest.raises(UserError, match=r'config\.eval_every takes .* such as 3000 or "20 epochs"'):
        in_steps("eval_every", written, 10.0)


def test_every_duration_of_a_configuration_becomes_steps():
    config = default.get_config()
    config.num_steps = "20 epochs"
    config.optim.warmup_steps = "0.5 epochs"
    config.optim.steps = ((100, 0.5), ("4 epochs", 0.1))
    config.augment.flip.schedule = ((0, 0.0), ("1 epoch", 1.0))
    written = config.to_dict()
    resolved = resolve(written, 30.0)
    assert durations_of(resolved) == {
        "num_steps": 600,
        "log_every": 100,
        "eval_every": 500,
        "checkpoint_every": 500,
        "keep_every": 0,
        "gradients_every": 100,
        "optim.warmup_steps": 15,
        "early_stopping.patience": 0,
        "alarm.spread_patience": 200,
        "alarm.skill_patience": 500,
    }
    assert resolved["optim"]["steps"] == ((100, 0.5), (120, 0.1))
    assert resolved["augment"]["flip"]["schedule"] == ((0, 0.0), (30, 1.0))
    assert written == config.to_dict()


@pytest.mark.parametrize("schedule", [(5,), ((5,),), ((5, "x"),), ((5, -1.0),), (("then", 0.1),)])
def test_what_is_no_schedule_is_named(schedule):
    config = default.get_config().to_dict()
    config["augment"]["shift"]["schedule"] = schedule
    with pytest.raises(UserError, match=r"config\.augment\.shift\.schedule takes"):
        resolve(config, 10.0)
    config["augment"]["shift"]["schedule"] = ((10, 1.0), ("1 epoch", 0.5))
    with pytest.raises(UserError, match="ascending order"):
        resolve(config, 10.0)
