"""An alarm begins when a sign has lasted for its patience, ends with it, and survives a resume."""

import dataclasses
import functools
import json

import jax
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import Mesh

from configs import quickstart
from jaxdrive.bins import Bins
from jaxdrive.heads import Head
from jaxdrive.models.multihead import make_model
from jaxdrive.training import alarm, parallel
from jaxdrive.training.metrics import HeadMetrics, spread
from jaxdrive.training.state import initializer
from jaxdrive.training.step import DATA_AXIS, make_train_step

SETTINGS = {"min_spread": 0.05, "spread_patience": 200, "min_skill": 0.05, "skill_patience": 500}
VALUES = st.sampled_from([None, -0.5, 0.0, 0.04, 0.06, 0.9])


def watch(alarms, begun, step, *, spread, skill, settings=SETTINGS):
    line = {"train/brake/spread": spread, "train/brake/skill": skill}
    return alarm.watch(alarms, begun, step, line, ["brake"], settings)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=20))
def test_it_is_on_while_a_sign_has_lasted_for_its_patience(windows):
    alarms, flat, poor = {}, 0, 0
    for number, (seen_spread, skill) in enumerate(windows):
        # As a checkpoint's meta keeps it.
        alarms = json.loads(json.dumps(alarms))
        alarms = watch(alarms, 100 * number, 100 * number + 100, spread=seen_spread, skill=skill)
        # A window that tells nothing counts like the one before it.
        flat = _lasted(flat, seen_spread)
        poor = _lasted(poor, skill)
        on = flat >= 200 or poor >= 500
        assert alarm.alarm_line(alarms) == {"train/brake/alarm": int(on)}


def _lasted(so_far: int, value: float | None) -> int:
    if value is None:
        return so_far + 100 if so_far else 0
    return so_far + 100 if value < 0.05 else 0


def test_it_is_told_when_it_begins_and_when_it_ends_and_not_between(caplog):
    alarms = {}
    signs = [(0.9, 0.8)] + [(0.01, 0.0)] * 4 + [(0.9, 0.8)] * 2
    for number, (seen_spread, skill) in enumerate(signs):
        alarms = watch(alarms, 100 * number, 100 * number + 100, spread=seen_spread, skill=skill)
    begun, ended = (record.message for record in caplog.records)
    assert begun.startswith("ALARM at step 300: brake says nearly the same to every picture.")
    assert "Since step 100 its predictions have differed by less than 5%" in begun
    assert "--config.optim.warmup_steps" in begun
    assert ended == "The alarm of step 300 for brake ends at 600"


def test_a_head_that_is_no_better_than_a_constant_is_told_so_with_what_to_try(caplog):
    watch({}, 0, 500, spread=0.5, skill=-0.1)
    (record,) = caplog.records
    assert record.message.startswith("ALARM at step 500: brake is no better than a constant on its")
    assert "Since step 0" in record.message
    assert "launch.py inspect" in record.message
    off = SETTINGS | {"spread_patience": 0, "skill_patience": 0}
    assert watch({}, 0, 5000, spread=0.0, skill=-1.0, settings=off)["brake"]["alarm_since"] is None


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_spread_compares_deviations_inside_batches(shift):
    head = Head("brake", "brake", 1.0, -9.0, 9.0, Bins((-9.0, 9.0)), "")
    generator = np.random.default_rng(0)
    targets = generator.standard_normal((4, 200)).astype(np.float32)
    # The mean of a batch moves from step to step; that alone is no spread.
    predictions = (0.3 * targets + shift * np.arange(4)[:, None]).astype(np.float32)
    mask = np.ones(200, bool)
    batches = [
        HeadMetrics.from_outputs(head, p, t, mask)
        for p, t in zip(predictions, targets, strict=True)
    ]
    assert spread(batches) == pytest.approx(0.3, rel=1e-3)
    dead = [dataclasses.replace(b, prediction=b.count, squared_prediction=b.count) for b in batches]
    assert spread(dead) == 0
    constant = [
        HeadMetrics.from_outputs(head, p, np.full(200, 0.7, np.float32), mask) for p in predictions
    ]
    assert spread(constant) is None


def test_a_head_whose_units_have_died_is_named_within_300_steps_and_a_healthy_one_is_not(caplog):
    heads = {
        name: Head(name, name, 1.0, 0.0, 1.0, Bins((0.0, 1.0)), "")
        for name in ("brake", "throttle")
    }
    model = make_model(
        quickstart.get_config().model.to_dict() | {"channels": (4,), "common": (8,), "head": (4,)},
        list(heads),
        axis_name=DATA_AXIS,
        platform="cpu",
    )
    optimizer = optax.adam(1e-2)
    init = initializer(model, optimizer, seed=0, image_shape=(8, 8, 3), scalars=[])
    state = jax.device_get(init())
    # A rectified unit so far below 0 answers nothing to any picture, and gets no gradient.
    state.params["brake_0"]["bias"] = np.full_like(state.params["brake_0"]["bias"], -100)
    partition = parallel._shard_map(Mesh(np.asarray(jax.devices()[:1]), (DATA_AXIS,)))
    step = partition.spread_train(
        make_train_step(model, heads, optimizer, supervise="own", passes="one")
    )
    state, alarms = partition.put_state(state), {}
    for number in range(3):
        window = []
        for position in range(100 * number, 100 * number + 100):
            state, metrics = step(state, partition.put_batch(_brightness(position, heads)))
            window.append(jax.device_get(metrics)["heads"])
        line = {}
        for name in heads:
            line[f"train/{name}/spread"] = spread([seen[name] for seen in window])
            line[f"train/{name}/skill"] = functools.reduce(
                HeadMetrics.merge, [seen[name] for seen in window]
            ).compute()["skill"]
        begun = 100 * number
        alarms = alarm.watch(alarms, begun, begun + 100, line, heads, SETTINGS)
    assert alarms["brake"]["alarm_since"] == 200
    assert alarms["throttle"]["alarm_since"] is None
    assert line["train/throttle/skill"] > 0.5
    assert len(caplog.records) == 1


def _brightness(position: int, heads) -> dict:
    """Batches of grey pictures, whose brightness is what every head is to say."""
    generator = np.random.default_rng(position)
    batch = {}
    for name in heads:
        level = generator.random(16, np.float32)
        images = np.broadcast_to(level[:, None, None, None] * 255, (16, 8, 8, 3))
        batch[name] = {
            "inputs": {"image": images.astype(np.uint8)},
            "labels": {name: level},
            "record": np.arange(16, dtype=np.int32),
            "mask": np.ones(16, bool),
        }
    return batch
