"""Names of a step's parts: all of them are in the compiled step, and they change nothing in it."""

import contextlib
import re

import jax
import numpy as np
import optax
import pytest

from configs import default
from jaxdrive.bins import Bins
from jaxdrive.heads import Head
from jaxdrive.models.multihead import make_model
from jaxdrive.training import parallel
from jaxdrive.training.augment import make_augment
from jaxdrive.training.state import initializer
from jaxdrive.training.step import DATA_AXIS, make_train_step

BINS = Bins((-1.0, 0.0, 1.0))
HEADS = {name: Head(name, name, 1.0, -1.0, 1.0, BINS, "") for name in ("brake", "steering")}
EACH = {"augment", "loss", "metrics"}
FORMS = [("shard_map", "one"), ("shard_map", "separate"), ("pmap", "separate")]


def lowered(partition: str, passes: str):
    """The step of a small network for four devices, not yet compiled."""
    settings = {
        "backbone": "small",
        "compute_dtype": "float32",
        "channels": (4,),
        "batch_norm": {"use": True, "sync": True, "momentum": 0.9, "epsilon": 1e-3},
        "common": (6,),
        "dense_init": "lecun_normal",
        "head": (5,),
        "dropout": 0.0,
    }
    model = make_model(settings, list(HEADS), axis_name=DATA_AXIS, platform="cpu")
    optimizer = optax.adam(1e-3)
    augment = default.get_config().augment.to_dict()
    augment["flip"]["probability"] = 0.5
    step = make_train_step(
        model,
        HEADS,
        optimizer,
        supervise="own",
        passes=passes,
        augment=make_augment(augment, HEADS, seed=0),
    )
    batch = {
        name: {
            "inputs": {"image": np.zeros((8, 9, 11, 3), np.uint8)},
            "labels": {name: np.zeros(8, np.float32)},
            "mirrored": {name: np.zeros(8, np.float32)},
            "mask": np.ones(8, bool),
        }
        for name in HEADS
    }
    state = initializer(model, optimizer, seed=0, image_shape=(9, 11, 3), scalars=[])()
    if partition == "pmap":
        spread = jax.pmap(step, axis_name=DATA_AXIS)
        batch = jax.tree.map(lambda array: array.reshape(4, 2, *array.shape[1:]), batch)
        return spread.lower(jax.tree.map(lambda array: np.stack([array] * 4), state), batch)
    chosen = parallel.make_partition(partition)
    return chosen.spread_train(step).lower(chosen.put_state(state), chosen.put_batch(batch))


@pytest.mark.parametrize(("partition", "passes"), FORMS)
def test_every_head_and_part_is_named_in_the_compiled_step(partition, passes):
    text = lowered(partition, passes).compile().as_text()
    paths = {path for path in re.findall(r'op_name="([^"]*)"', text) if "/" in path}
    names = {name for path in paths for name in re.findall(r"\w+", path)}
    wanted = {f"{part}_{head}" for part in EACH for head in HEADS}
    passed = {f"pass_{head}" for head in HEADS} if passes == "separate" else {"pass_all"}
    wanted |= passed | {"sum_over_devices", "optimizer", "backbone", "common_0"}
    wanted |= {f"{head}_{layer}" for head in HEADS for layer in ("0", "output")}
    assert wanted <= names
    assert not (names & {f"pass_{head}" for head in HEADS}) - passed
    for one in passed:
        assert any(f"/{one}/" in path and "transpose(" in path for path in paths)
    # A pass holds its own head's layers alone.
    for path in paths:
        for head in HEADS if passes == "separate" else ():
            if f"{head}_output" in path:
                assert f"pass_{head}" in path


@pytest.mark.parametrize(("partition", "passes"), FORMS)
def test_names_change_nothing_but_names(partition, passes, monkeypatch):
    named = lowered(partition, passes).as_text()
    monkeypatch.setattr(jax, "named_scope", lambda name: contextlib.nullcontext())
    plain = lowered(partition, passes)
    assert "pass_" not in plain.as_text(debug_info=True)
    assert plain.as_text() == named
