"""Gradients at the common part against those of each head's loss alone, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdrive.training.gradients import gradient_line, make_gradients
from tests.training.test_dropout import dropout_keys_by_hand
from tests.training.test_step import (
    HEADS,
    MIXED,
    fresh_state,
    mixed_cost,
    model_of,
    partition_of,
    published_cost,
    random_batch,
)


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def by_hand(model, state, batch, *, supervise, cost, keys_of) -> np.ndarray:
    """Every head's gradient at the common layer, one after the other: [heads, numbers]."""

    def loss(common, head):
        params = {**state.params, "common_0": common}
        costs = []
        for name in [head] if supervise == "own" else HEADS:
            outputs, _ = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                batch[name]["inputs"],
                train=True,
                dropout_keys=keys_of(0, list(HEADS).index(name)),
                mutable=["batch_stats"],
            )
            costs.append(cost(head, outputs[head], batch[name]["labels"][head]).mean())
        return jnp.stack(costs).mean()

    gradients = [jax.grad(loss)(state.params["common_0"], head) for head in HEADS]
    return np.stack(
        [np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(g)]) for g in gradients]
    )


@pytest.mark.parametrize(
    ("supervise", "heads", "cost"),
    [
        ("own", HEADS, published_cost),
        ("all", HEADS, published_cost),
        ("own", MIXED, mixed_cost),
    ],
)
def test_they_are_those_of_each_heads_loss_on_any_devices(supervise, heads, cost):
    model = model_of(normalised=True, heads=heads, dropout=0.5)
    state, batch = fresh_state(model, optax.identity()), random_batch(0, supervise=supervise)
    silent = model_of(normalised=True, sync=False, heads=heads, dropout=0.5)
    keys_of = functools.partial(dropout_keys_by_hand, seed=7)
    want = by_hand(silent, state, batch, supervise=supervise, cost=cost, keys_of=keys_of)
    traces = []
    measure = make_gradients(model, heads, supervise=supervise, seed=7)

    def counted(*arguments):
        traces.append(1)
        return measure(*arguments)

    for name, devices in (("shard_map", 1), ("shard_map", 4), ("pmap", 4)):
        partition = partition_of(name, devices)
        spread = partition.spread_measure(counted)
        put = partition.put_state(state), partition.put_batch(batch)
        traces.clear()
        with jax.numpy_dtype_promotion("strict"):
            products = [jax.device_get(spread(*put)) for _ in range(2)]
        assert len(traces) == 1
        np.testing.assert_array_equal(products[0], products[1])
        np.testing.assert_allclose(products[0], want @ want.T, rtol=1e-9)


def test_norms_and_cosines_are_those_of_the_vectors():
    vectors = np.random.default_rng(0).standard_normal((3, 5))
    vectors[2] = 0
    line = gradient_line(HEADS, vectors @ vectors.T)
    brake, steering, _ = vectors
    norms = np.linalg.norm(vectors, axis=1)
    assert [line[f"train/{name}/common_gradient_norm"] for name in HEADS] == pytest.approx(norms)
    cosine = brake @ steering / (norms[0] * norms[1])
    assert line["train/gradient_cosine_brake_steering"] == pytest.approx(cosine)
    # Zero points nowhere.
    assert line["train/gradient_cosine_brake_throttle"] is None
    assert line["train/gradient_cosine_steering_throttle"] is None


def test_a_network_without_common_layers_has_no_place_to_measure():
    model = model_of(normalised=False).clone(common=())
    assert make_gradients(model, HEADS, supervise="own") is None
