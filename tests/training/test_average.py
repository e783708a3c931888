"""The average of parameters against a loop in numpy, and where it starts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdrive.models.weights import Chosen
from jaxdrive.training.average import with_average
from jaxdrive.training.initial import with_initial
from jaxdrive.training.state import TrainState
from jaxdrive.training.step import make_train_step
from tests.training.test_step import HEADS, RATE, fresh_state, model_of, partition_of, random_batch

DECAYS = st.sampled_from([0.05, 0.5, 0.9, 0.99999])


def average_by_hand(average, params_of_updates, decay):
    """The rule of TensorFlow's documentation; params_of_updates has None for a skipped update."""
    updates = 0
    for params in params_of_updates:
        if params is not None:
            updates += 1
            kept = min(decay, (1 + updates) / (10 + updates))
            average = kept * average + (1 - kept) * params
    return average


@settings(max_examples=50, deadline=None)
@given(
    decay=DECAYS,
    moves=st.lists(st.none() | st.floats(-10, 10, width=32), min_size=1, max_size=40),
)
def test_the_average_equals_a_loop_in_numpy(decay, moves):
    """In the parameters' dtype, whatever they do, with updates that are skipped."""

    def move(state, batch):
        skipped = ~jnp.isfinite(batch["by"])
        moved = state.replace(step=state.step + 1, params=jnp.sin(state.params) + batch["by"])
        state = jax.tree.map(lambda new, old: jnp.where(skipped, old, new), moved, state)
        return state, {"skipped": skipped}

    step = jax.jit(with_average(move, decay))
    start = np.array([1.0, -2.0, 0.5], np.float32)
    zero = jnp.int32(0)
    state = TrainState(zero, zero, start, {}, (), average=start)
    passed = []
    with jax.numpy_dtype_promotion("strict"):
        for by in moves:
            state, _ = step(state, {"by": np.float32(np.nan if by is None else by)})
            passed.append(None if by is None else np.asarray(state.params, np.float64))
    assert state.average.dtype == np.float32
    want = average_by_hand(start.astype(np.float64), passed, decay)
    np.testing.assert_allclose(state.average, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "devices", "passes"), [("shard_map", 4, "one"), ("pmap", 4, "separate")]
)
def test_a_network_is_averaged_and_trains_as_without(name, devices, passes):
    """In float64; the third of five updates is not finite."""
    with jax.enable_x64(True):
        model, optimizer = model_of(normalised=True), optax.sgd(RATE, momentum=0.9)
        plain = make_train_step(model, HEADS, optimizer, supervise="own", passes=passes)
        partition = partition_of(name, devices)
        batches = [random_batch(position, supervise="own") for position in range(5)]
        batches[2]["brake"]["labels"]["brake"][0] = np.nan
        start = fresh_state(model, optimizer)

        def states(step, state):
            spread, state = partition.spread_train(step), partition.put_state(state)
            for batch in batches:
                with jax.numpy_dtype_promotion("strict"):
                    state, _ = spread(state, partition.put_batch(batch))
                yield jax.device_get(partition.get_state(state))

        without = list(states(plain, start))
        averaged = list(states(with_average(plain, 0.3), start.replace(average=start.params)))
    assert [int(state.step) for state in averaged] == [1, 2, 2, 3, 4]
    for got, want in zip(averaged, without, strict=True):
        assert want.average is None
        for a, b in zip(*map(jax.tree.leaves, (got.replace(average=None), want)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    jax.tree.map(np.testing.assert_array_equal, averaged[2].average, averaged[1].average)
    leaves = zip(*(jax.tree.leaves(state.params) for state in [start, *without]), strict=True)
    for (first, *rest), got in zip(leaves, jax.tree.leaves(averaged[-1].average), strict=True):
        rest[2] = None
        np.testing.assert_allclose(got, average_by_hand(first, rest, 0.3), rtol=1e-9, atol=1e-12)
        assert not np.allclose(got, rest[-1], rtol=1e-6)


def test_the_average_starts_at_the_weights_that_a_run_starts_from():
    params = {"dense": {"kernel": np.ones((2, 3), np.float32), "bias": np.zeros(3, np.float32)}}
    loaded = Chosen("file", {"dense/kernel": np.full((2, 3), 7.0)}, {}, {})
    plain = TrainState(np.int32(0), np.int32(0), params, {}, ())
    assert with_initial(plain, loaded).average is None
    state = with_initial(plain.replace(average=params), loaded)
    np.testing.assert_array_equal(state.average["dense"]["kernel"], 7)
    jax.tree.map(np.testing.assert_array_equal, state.average, state.params)
