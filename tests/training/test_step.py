"""The step against an independent formulation, and all its forms against each other, in float64.

The reference is written the way the published system worked: one pass a head through plain Flax
functions, gradients summed. Plain SGD, since Adam hides a scaled gradient.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

from configs import default
from jaxdrive.bins import Bins
from jaxdrive.heads import Head
from jaxdrive.models.multihead import make_model
from jaxdrive.training import parallel
from jaxdrive.training.augment import make_augment
from jaxdrive.training.state import TrainState, initializer
from jaxdrive.training.step import DATA_AXIS, make_predict_step, make_train_step

BATCH = 8
RATE = 0.1
HEADS = {
    name: Head(name, name, 1.0, low, 1.0, Bins((low, 0.5, 1.0)), "")
    for name, low in (("brake", 0.0), ("steering", -1.0), ("throttle", 0.0))
}
# A kind of each sort, with weights of their own.
MIXED = {
    "brake": dataclasses.replace(HEADS["brake"], kind="classification", weight=0.5),
    "steering": dataclasses.replace(HEADS["steering"], loss="huber", delta=0.2, weight=3.0),
    "throttle": dataclasses.replace(HEADS["throttle"], loss="absolute"),
}
FORMS = [
    ("shard_map", 1, "one"),
    ("shard_map", 1, "separate"),
    ("shard_map", 4, "one"),
    ("shard_map", 4, "separate"),
    ("pmap", 1, "one"),
    ("pmap", 4, "separate"),
]


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def model_of(*, normalised: bool, sync: bool = True, heads=HEADS, dropout: float = 0.0):
    config = {
        "backbone": "small",
        "compute_dtype": "float32",
        "channels": (4,),
        "batch_norm": {"use": normalised, "sync": sync, "momentum": 0.9, "epsilon": 1e-3},
        "common": (6,),
        "dense_init": "lecun_normal",
        "head": (),
        "dropout": dropout,
    }
    outputs = {name: head.outputs for name, head in heads.items()}
    return make_model(config, list(heads), axis_name=DATA_AXIS, platform="cpu", outputs=outputs)


@functools.cache
def initial(normalised: bool, mixed: bool) -> TrainState:
    model = model_of(normalised=normalised, heads=MIXED if mixed else HEADS)
    return initializer(model, optax.identity(), seed=1, image_shape=(9, 11, 3), scalars=["speed"])()


def fresh_state(model, optimizer) -> TrainState:
    state = initial(model.backbone.batch_norm is not None, model.outputs["brake"] > 1)

    def double(array):
        return array.astype(jnp.float64) if array.dtype == jnp.float32 else array

    # Zero biases and unit scales would hide a gradient that is lost or doubled.
    generator = np.random.default_rng(2)
    params = jax.tree.map(
        lambda a: double(a) + 0.1 * generator.standard_normal(a.shape), state.params
    )
    return jax.device_get(
        TrainState(
            step=state.step,
            position=state.position,
            params=params,
            batch_stats=jax.tree.map(double, state.batch_stats),
            opt_state=optimizer.init(params),
        )
    )


def random_batch(position: int, *, supervise: str, masked: bool = False, views: bool = False):
    generator = np.random.default_rng(position)

    def rows():
        return {
            "inputs": {
                "image": generator.integers(0, 256, (BATCH, 9, 11, 3), np.uint8),
                "speed": generator.random(BATCH, np.float32),
            },
            "labels": {name: generator.random(BATCH, np.float32) for name in HEADS},
            "record": np.arange(BATCH, dtype=np.int32),
            "mask": np.arange(BATCH) < 5 if masked else np.ones(BATCH, bool),
        } | ({"transform": generator.integers(0, 14, BATCH, np.int32)} if views else {})

    batch = {name: rows() for name in HEADS}
    if supervise == "own":
        for name, part in batch.items():
            part["labels"] = {name: part["labels"][name]}
    for part in batch.values():
        part["mirrored"] = {name: 1 - values for name, values in part["labels"].items()}
    return batch


def partition_of(name: str, devices: int) -> parallel.Partition:
    chosen = jax.devices()[:devices]
    if name == "pmap":
        return parallel._pmap(chosen)
    return parallel._shard_map(Mesh(np.asarray(chosen), (DATA_AXIS,)))


def train(
    partition,
    passes,
    *,
    model,
    supervise,
    batches,
    optimizer=None,
    heads=HEADS,
    augment=None,
    seed=0,
):
    optimizer = optimizer or optax.sgd(RATE)
    step = make_train_step(
        model, heads, optimizer, supervise=supervise, passes=passes, augment=augment, seed=seed
    )
    spread = partition.spread_train(step)
    state = partition.put_state(fresh_state(model, optimizer))
    metrics = None
    with jax.numpy_dtype_promotion("strict"):
        for batch in batches:
            state, metrics = spread(state, partition.put_batch(batch))
    return jax.device_get(partition.get_state(state)), jax.device_get(metrics)


def published_cost(name, outputs, targets):
    return optax.squared_error(outputs, targets)


def mixed_cost(name, outputs, targets):
    """The losses of `MIXED` times their weights, written without anything of `losses.py`."""
    if name == "brake":
        p = jnp.exp(outputs) / jnp.exp(outputs).sum(axis=1, keepdims=True)
        return -0.5 * jnp.log(jnp.where(targets <= 0.5, p[:, 0], p[:, 1]))
    error = jnp.abs(outputs - targets)
    if name == "steering":
        return 3 * jnp.where(error <= 0.2, error**2 / 2, 0.2 * error - 0.02)
    return error


def reference(
    model, *, supervise, batches, heads=HEADS, cost=published_cost, keys_of=None
) -> TrainState:
    """Separate passes, written without anything of `step.py`.

    keys_of(position, head's place) gives the keys of what dropout drops; None drops nothing.
    """
    state = fresh_state(model, optax.sgd(RATE))
    params, statistics = state.params, state.batch_stats
    silent = model_of(normalised=bool(statistics), sync=False, heads=heads, dropout=model.dropout)

    def loss(params, statistics, part, seen, keys):
        out, updates = silent.apply(
            {"params": params, "batch_stats": statistics},
            part["inputs"],
            train=True,
            dropout_keys=keys,
            mutable=["batch_stats"],
        )
        errors = jnp.stack([cost(h, out[h], part["labels"][h]) for h in seen])
        value = jnp.average(errors.mean(axis=0), weights=part["mask"].astype(errors.dtype))
        return value, updates.get("batch_stats", {})

    gradient_of = jax.jit(jax.grad(loss, has_aux=True), static_argnames="seen")
    for position, batch in enumerate(batches):
        total = jax.tree.map(np.zeros_like, params)
        for place, name in enumerate(HEADS):
            keys = keys_of(position, place) if keys_of else None
            seen = (name,) if supervise == "own" else tuple(HEADS)
            gradient, statistics = gradient_of(params, statistics, batch[name], seen, keys)
            total = jax.tree.map(np.add, total, gradient)
        params = jax.tree.map(lambda p, g: p - RATE * g, params, total)
    return state.replace(params=params, batch_stats=statistics)


def assert_same_update(got: TrainState, want: TrainState, start: TrainState) -> None:
    """Equal in DESIGN's sense: within 1e-9 relative to the update."""
    for name in ("params", "batch_stats"):
        leaves = zip(*(jax.tree.leaves(getattr(s, name)) for s in (got, want, start)), strict=True)
        for a, b, origin in leaves:
            update = np.linalg.norm(b - origin)
            assert update > 0
            assert np.linalg.norm(a - b) <= 1e-9 * update


@pytest.mark.parametrize(
    ("supervise", "forms", "heads", "cost"),
    [
        ("own", FORMS, HEADS, published_cost),
        ("all", FORMS[1:3], HEADS, published_cost),
        ("own", FORMS[1:3], MIXED, mixed_cost),
    ],
)
def test_every_form_equals_the_published_loop(supervise, forms, heads, cost):
    """Or what that loop would be for heads of other kinds and weights."""
    model = model_of(normalised=True, heads=heads)
    batches = [random_batch(p, supervise=supervise) for p in range(3)]
    start = fresh_state(model, optax.sgd(RATE))
    want = reference(model, supervise=supervise, batches=batches, heads=heads, cost=cost)
    for partition, devices, passes in forms:
        got, _ = train(
            partition_of(partition, devices),
            passes,
            model=model,
            supervise=supervise,
            batches=batches,
            heads=heads,
        )
        assert_same_update(got, want, start)
        assert (got.step, got.position) == (3, 3)


def test_masked_rows_do_not_count():
    model = model_of(normalised=False)
    batches = [random_batch(p, supervise="own", masked=True) for p in range(2)]
    start = fresh_state(model, optax.sgd(RATE))
    want = reference(model, supervise="own", batches=batches)
    for passes in ("one", "separate"):
        got, metrics = train(
            partition_of("shard_map", 4), passes, model=model, supervise="own", batches=batches
        )
        assert_same_update(got, want, start)
        assert all(m.count == 5 and m.drawn.sum() == 5 for m in metrics["heads"].values())


@pytest.mark.parametrize("passes", ["one", "separate"])
def test_a_batch_of_which_no_row_counts_teaches_nothing(passes):
    model, batch = model_of(normalised=False), random_batch(0, supervise="own")
    batch["brake"]["mask"][:] = False
    start = fresh_state(model, optax.sgd(RATE))
    got, metrics = train(
        partition_of("shard_map", 1), passes, model=model, supervise="own", batches=[batch]
    )
    assert not metrics["skipped"]
    assert (got.step, metrics["heads"]["brake"].count) == (1, 0)
    for layer, before in start.params.items():
        same = all(map(np.array_equal, *map(jax.tree.leaves, (before, got.params[layer]))))
        assert same == layer.startswith("brake"), layer


def test_views_and_left_out_rows_are_the_same_on_any_devices():
    """Statistics of batches see the pictures of left out rows too, on all devices together."""
    settings = default.get_config().augment.to_dict()
    settings["flip"]["probability"] = 0.5
    settings["small_angles"] |= {"probability": 0.6, "below": 0.6}
    model = model_of(normalised=True)
    batches = [random_batch(position, supervise="all", views=True) for position in range(2)]
    start = fresh_state(model, optax.sgd(RATE))
    results = [
        train(
            partition_of(name, devices),
            passes,
            model=model,
            supervise="all",
            batches=batches,
            augment=make_augment(settings, HEADS, seed=2),
        )
        for name, devices, passes in (FORMS[0], FORMS[5])
    ]
    counts = {int(m.count) for _, metrics in results for m in metrics["heads"].values()}
    assert len(counts) == 1
    assert 0 < counts.pop() < BATCH * len(HEADS)
    assert_same_update(results[1][0], results[0][0], start)


def test_a_head_learns_from_its_own_batch_alone():
    model = model_of(normalised=False)
    batch = random_batch(0, supervise="own")
    changed = random_batch(0, supervise="own")
    changed["brake"]["labels"]["brake"] = 1 - changed["brake"]["labels"]["brake"]
    states = [
        train(partition_of("shard_map", 1), "one", model=model, supervise="own", batches=[b])[0]
        for b in (batch, changed)
    ]
    for layer in states[0].params:
        same = all(
            np.array_equal(a, b)
            for a, b in zip(*(jax.tree.leaves(s.params[layer]) for s in states), strict=True)
        )
        assert same == layer.startswith(("steering", "throttle")), layer


def test_a_weight_of_two_doubles_the_gradient_of_its_head():
    model, batches = model_of(normalised=False), [random_batch(0, supervise="own")]
    start = fresh_state(model, optax.sgd(RATE)).params

    def update(weight):
        heads = HEADS | {"brake": dataclasses.replace(HEADS["brake"], weight=weight)}
        partition, kwargs = partition_of("shard_map", 1), {"supervise": "own", "heads": heads}
        state, _ = train(partition, "one", model=model, batches=batches, **kwargs)
        return jax.tree.map(np.subtract, state.params, start)

    one, two, three = map(update, (1.0, 2.0, 3.0))
    for a, b, c in zip(*map(jax.tree.leaves, (one, two, three)), strict=True):
        np.testing.assert_allclose(c - b, b - a, rtol=1e-9, atol=1e-14)
    for layer, factor in {"brake_output": 2, "steering_output": 1, "throttle_output": 1}.items():
        expected = factor * one[layer]["kernel"]
        np.testing.assert_allclose(two[layer]["kernel"], expected, rtol=1e-9)
    assert not np.allclose(two["common_0"]["kernel"], one["common_0"]["kernel"], rtol=1e-3)


def test_unsynchronised_statistics_are_each_device_s_own():
    batches = [random_batch(0, supervise="own")]
    synced, apart = (
        train(
            partition_of("shard_map", 4),
            "one",
            model=model_of(normalised=True, sync=sync),
            supervise="own",
            batches=batches,
        )[0]
        for sync in (True, False)
    )
    means = [s.batch_stats["backbone"]["BatchNorm_0"]["mean"] for s in (synced, apart)]
    spreads = [s.batch_stats["backbone"]["BatchNorm_0"]["variance"] for s in (synced, apart)]
    # The mean of the devices' means is the whole batch's; their variances leave out what lies
    # between the devices.
    np.testing.assert_allclose(means[0], means[1], rtol=1e-12)
    assert (spreads[1] < spreads[0]).all()


def test_an_update_that_is_not_finite_is_skipped():
    model = model_of(normalised=True)
    good, bad = (random_batch(p, supervise="own") for p in (0, 1))
    bad["brake"]["labels"]["brake"][0] = np.nan
    optimizer = optax.sgd(RATE, momentum=0.9)
    for partition in ("shard_map", "pmap"):
        kwargs = {"model": model, "supervise": "own", "optimizer": optimizer}
        once, _ = train(partition_of(partition, 4), "one", batches=[good], **kwargs)
        twice, metrics = train(partition_of(partition, 4), "one", batches=[good, bad], **kwargs)
        assert metrics["skipped"]
        assert (twice.step, twice.position) == (1, 2)
        for a, b in zip(
            jax.tree.leaves((once.params, once.batch_stats, once.opt_state)),
            jax.tree.leaves((twice.params, twice.batch_stats, twice.opt_state)),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)


def test_the_step_is_traced_once():
    model, optimizer = model_of(normalised=True, dropout=0.5), optax.sgd(RATE)
    step = make_train_step(model, HEADS, optimizer, supervise="own", passes="one")
    traces = []

    def counted(state, batch):
        traces.append(None)
        return step(state, batch)

    partition = partition_of("shard_map", 4)
    spread = partition.spread_train(counted)
    state = partition.put_state(fresh_state(model, optimizer))
    for position in range(3):
        state, _ = spread(state, partition.put_batch(random_batch(position, supervise="own")))
    assert len(traces) == 1


@pytest.mark.parametrize("name", ["shard_map", "pmap"])
def test_predictions_come_back_in_order_and_decoded(name):
    model = model_of(normalised=True, heads=MIXED)
    state = fresh_state(model, optax.sgd(RATE))
    inputs = random_batch(0, supervise="own")["brake"]["inputs"]
    want = model.apply(
        {"params": state.params, "batch_stats": state.batch_stats}, inputs, train=False
    )
    p = np.exp(want["brake"]) / np.exp(want["brake"]).sum(axis=1, keepdims=True)
    want |= {"brake": p @ [0.25, 0.75]}
    partition = partition_of(name, 4)
    predict = partition.spread_predict(make_predict_step(model, MIXED))
    variables = partition.put_state((state.params, state.batch_stats))
    got = partition.get_rows(predict(variables, partition.put_batch(inputs)))
    for head in HEADS:
        np.testing.assert_allclose(got[head], want[head], rtol=1e-12)
