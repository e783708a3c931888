"""Dropout: how much is dropped, what depends on what, and that only training does it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdrive.models.dropout import dropout
from jaxdrive.training.randomness import dropout_keys
from jaxdrive.training.step import make_predict_step
from tests.training.test_step import (
    BATCH,
    FORMS,
    HEADS,
    RATE,
    assert_same_update,
    fresh_state,
    model_of,
    partition_of,
    random_batch,
    reference,
    train,
)

DROPPED = 0.4


def dropped(x, keys, *, rate):
    with jax.numpy_dtype_promotion("strict"):
        return np.asarray(dropout(x, keys, rate=rate))


def dropout_keys_by_hand(position, head, *, seed, rows=BATCH):
    """Keys of the rows of a global batch, one after the other."""
    key = jax.random.key(seed)
    for number in (position, head):
        key = jax.random.fold_in(key, number)
    keys = [jax.random.fold_in(jax.random.fold_in(key, row), 1_000_000) for row in range(rows)]
    return jnp.stack(keys)


def mask_of(*, rows, rate=0.5, features=64, seed=1, position=2, head=0):
    keys = dropout_keys(seed=seed, position=position, head=head, rows=jnp.asarray(rows, jnp.int32))
    return dropped(jnp.ones((len(rows), features)), keys, rate=rate) > 0


@settings(max_examples=25, deadline=None)
@given(rate=st.floats(0.01, 0.99), seed=st.integers(0, 2**31 - 1))
def test_the_rate_is_that_of_what_is_dropped_and_the_rest_is_scaled_up(rate, seed):
    rows, features = 16, 2500
    keys = dropout_keys(seed=seed, position=0, head=0, rows=jnp.arange(rows, dtype=jnp.int32))
    x = jnp.asarray(np.random.default_rng(0).normal(3, 1, (rows, features)), jnp.float32)
    got = dropped(x, keys, rate=rate)
    kept = got != 0
    np.testing.assert_allclose(got[kept], np.asarray(x)[kept] / (1 - rate), rtol=1e-5)
    # Within six standard deviations of the share of so many numbers.
    assert abs(kept.mean() - (1 - rate)) < 6 * np.sqrt(rate * (1 - rate) / kept.size)


def test_rows_are_dropped_by_seed_position_head_and_row_alone():
    rows = list(range(8))
    first = mask_of(rows=rows)
    np.testing.assert_array_equal(first, mask_of(rows=rows))
    np.testing.assert_array_equal(first[4:], mask_of(rows=rows[4:]))
    for other in ({"seed": 2}, {"position": 3}, {"head": 1}):
        assert 0.3 < np.mean(first != mask_of(rows=rows, **other)) < 0.7
    for row in rows[1:]:
        assert 0.1 < np.mean(first[0] != first[row]) < 0.9


def test_the_same_is_dropped_in_every_precision():
    keys = dropout_keys(seed=1, position=2, head=0, rows=jnp.arange(8, dtype=jnp.int32))
    with jax.enable_x64(True):
        masks = [
            dropped(jnp.ones((8, 64), dtype), keys, rate=0.5) != 0
            for dtype in (jnp.bfloat16, jnp.float32, jnp.float64)
        ]
    for mask in masks:
        np.testing.assert_array_equal(mask, mask_of(rows=range(8)))


@pytest.mark.parametrize(("supervise", "forms"), [("own", FORMS[2::3]), ("all", FORMS[3:4])])
def test_every_form_drops_what_one_device_drops_head_by_head(supervise, forms):
    with jax.enable_x64(True):
        model = model_of(normalised=True, dropout=DROPPED)
        batches = [random_batch(p, supervise=supervise) for p in range(3)]
        start = fresh_state(model, optax.sgd(RATE))
        keys_of = functools.partial(dropout_keys_by_hand, seed=3)
        want = reference(model, supervise=supervise, batches=batches, keys_of=keys_of)
        for partition, devices, passes in forms:
            got, _ = train(
                partition_of(partition, devices),
                passes,
                model=model,
                supervise=supervise,
                batches=batches,
                seed=3,
            )
            assert_same_update(got, want, start)


def test_a_prediction_drops_nothing():
    with jax.enable_x64(True):
        models = [model_of(normalised=True, dropout=rate) for rate in (0.0, DROPPED)]
        state = fresh_state(models[0], optax.identity())
        inputs = random_batch(0, supervise="own")["brake"]["inputs"]
        partition = partition_of("shard_map", 4)
        variables = partition.put_state((state.params, state.batch_stats))
        without, with_rate = (
            partition.get_rows(
                partition.spread_predict(make_predict_step(model, HEADS))(
                    variables, partition.put_batch(inputs)
                )
            )
            for model in models
        )
    for name in without:
        np.testing.assert_array_equal(without[name], with_rate[name])
