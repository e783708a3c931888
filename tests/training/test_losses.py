"""What outputs mean and cost, against plain numpy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdrive import bins
from jaxdrive.bins import Bins
from jaxdrive.heads import DECODINGS, Head
from jaxdrive.training.losses import bin_index, decode, example_losses

# The published discrete-delta bins: the values that a driver's correction is rounded to.
DELTAS = (-0.3, -0.1, -0.03, 0.0, 0.03, 0.1, 0.3)


@pytest.fixture(autouse=True)
def _strict_double_precision():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        yield


def head_of(bins: Bins, **fields) -> Head:
    return Head("steering", "angle", 0.4, bins.edges[0], bins.edges[-1], bins, "rad", **fields)


@st.composite
def classifications(draw, decode: str) -> Head:
    """Two bins at least, of any widths, with atoms."""
    tenths = draw(st.lists(st.integers(-20, 20), min_size=3, max_size=12, unique=True))
    edges = tuple(tenth / 10 for tenth in sorted(tenths))
    atoms = tuple(draw(st.sets(st.sampled_from(edges))))
    return head_of(Bins(edges, atoms), kind="classification", decode=decode)


REGRESSION = head_of(Bins((-1.0, 1.0)))
# XLA takes subnormal numbers for 0, and so for no error.
numbers = st.lists(st.floats(-3, 3, width=32, allow_subnormal=False), min_size=8, max_size=8)


@given(numbers, numbers, st.floats(0.01, 2))
@settings(deadline=None)
def test_regression_losses_and_their_gradients_are_the_formulas(outputs, targets, delta):
    p, t = np.array(outputs), np.array(targets, np.float32)
    error = p - t.astype(float)
    small = np.abs(error) <= delta
    expected = {
        "squared": (error**2, 2 * error),
        "absolute": (np.abs(error), np.sign(error)),
        "huber": (
            np.where(small, error**2 / 2, delta * (np.abs(error) - delta / 2)),
            np.clip(error, -delta, delta),
        ),
    }
    for loss, (cost, slope) in expected.items():
        head = head_of(Bins((-1.0, 1.0)), loss=loss, delta=delta)
        assert head.outputs == 1
        found = example_losses(head, jnp.asarray(p), jnp.asarray(t))
        np.testing.assert_allclose(found, cost, rtol=1e-12, atol=1e-12)
        gradient = jax.grad(lambda x, h=head: example_losses(h, x, jnp.asarray(t)).sum())
        np.testing.assert_allclose(gradient(jnp.asarray(p)), slope, rtol=1e-12, atol=1e-12)


@given(classifications("expectation"), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_cross_entropy_is_the_formula_on_the_bin_that_the_host_finds(head, seed):
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 5, (40, head.outputs))
    targets = np.concatenate(
        [generator.uniform(-2.5, 2.5, 20), generator.choice(head.bins.edges, 20)]
    ).astype(np.float32)
    index = bins.bin_index(head.bins, targets)
    np.testing.assert_array_equal(bin_index(head.bins, jnp.asarray(targets)), index)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = example_losses(head, jnp.asarray(logits), jnp.asarray(targets))
    np.testing.assert_allclose(found, -np.log(p[np.arange(40), index]), rtol=1e-9, atol=1e-12)
    expected = (p * np.array(head.bins.values)).sum(axis=1)
    np.testing.assert_allclose(decode(head, jnp.asarray(logits)), expected, rtol=1e-9, atol=1e-12)


@given(st.sampled_from(DECODINGS).flatmap(classifications), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_predictions_stay_in_range_and_a_sure_network_says_the_bin_s_value(head, seed):
    wild = np.random.default_rng(seed).normal(0, 30, (50, head.outputs))
    found = np.asarray(decode(head, jnp.asarray(wild)))
    assert found.shape == (50,)
    assert head.low - 1e-12 <= found.min()
    assert found.max() <= head.high + 1e-12
    if head.decode == "argmax":
        index = bins.bin_index(head.bins, found)
        np.testing.assert_array_equal(index, wild.argmax(axis=1))
    sure = decode(head, 1000 * jnp.eye(head.outputs))
    np.testing.assert_array_equal(sure, head.bins.values)
    for (low, high), value in zip(head.bins.spans, head.bins.values, strict=True):
        assert low == value == high or low < value < high


def test_the_published_discrete_deltas_are_centres_of_bins():
    edges = (-0.445, -0.155, -0.045, -0.015, 0.015, 0.045, 0.155, 0.445)
    head = head_of(Bins(edges), kind="classification", decode="argmax")
    assert head.outputs == len(DELTAS)
    np.testing.assert_allclose(decode(head, jnp.eye(7)), DELTAS, atol=1e-12)


def test_predictions_of_a_regression_are_its_outputs():
    outputs = jnp.asarray([-7.0, 0.25])
    np.testing.assert_array_equal(decode(REGRESSION, outputs), outputs)
