"""What outputs mean and cost, against plain numpy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdrive import bins as house
from jaxdrive.bins import Bins
from jaxdrive.heads import DECODINGS, Head, Shares
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


def shares_of(bins: Bins, generator) -> Shares:
    """Random shares; about a third of the bins, but not all, have no frames."""
    filled = generator.random(len(bins)) < 0.7
    filled[generator.integers(len(bins))] = True
    both = generator.random((2, len(bins))) * filled
    return Shares(*map(tuple, (both / both.sum(axis=1, keepdims=True)).tolist()))


# Few numbers of bins: JAX compiles for each.
SOME_BINS = (
    Bins((-1.0, 1.0)),
    Bins((-1.0, -0.3, 0.0, 0.5, 1.0), atoms=(0.0,)),
    Bins((-0.5, 0.1, 1.0, 2.0), atoms=(-0.5, 2.0)),
)


@given(
    st.sampled_from(SOME_BINS),
    st.floats(0.05, 2),
    numbers.map(np.array),
    numbers,
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=30, deadline=None)
def test_balanced_squared_error_and_its_gradient_are_the_formulas(bins, noise, p, targets, seed):
    shares = shares_of(bins, np.random.default_rng(seed))
    head = head_of(bins, loss="balanced_squared", noise=noise, shares=shares)
    # In words of densities, bin by bin, without logarithms of sums; none of those is 0 here.
    centres = [np.float64(centre) for centre in bins.values]
    filled = [(c, share) for c, share in zip(centres, shares.drawn, strict=True) if share]
    ends = [c for c, _ in filled]
    t = np.clip(np.array(targets, np.float32).astype(float), min(ends), max(ends))

    def density(c):
        return np.exp(-((p.astype(np.longdouble) - c) ** 2) / (2 * noise**2))

    mixed = sum(share * density(c) for c, share in filled)
    cost = -np.log(density(t) / mixed) * 2 * noise**2
    expected = sum(share * density(c) * c for c, share in filled) / mixed
    t32 = jnp.asarray(targets, jnp.float32)
    found = example_losses(head, jnp.asarray(p), t32)
    np.testing.assert_allclose(found, cost.astype(float), rtol=1e-9, atol=1e-9)
    gradient = jax.grad(lambda x: example_losses(head, x, t32).sum())(jnp.asarray(p))
    np.testing.assert_allclose(gradient, 2 * (expected.astype(float) - t), rtol=1e-9, atol=1e-9)


def test_balanced_squared_error_has_an_end():
    bins = Bins((-1.0, -0.5, 0.0, 0.5, 1.0))
    fields = {"loss": "balanced_squared", "noise": 0.1}
    rare = head_of(bins, **fields, shares=Shares((0.0,) * 4, (0.01, 0.48, 0.5, 0.01)))
    far = jnp.asarray([-50.0, -1.0, 0.0, 1.0, 50.0, 1e4])
    for target in (-1.0, 1.0):
        cost = example_losses(rare, far, jnp.full(6, target, jnp.float32))
        # No prediction costs less than one that makes the rare bin sure.
        assert cost.min() >= 2 * 0.1**2 * np.log(0.01) - 1e-9
    # Where all frames are in one bin there is nothing to learn.
    single = head_of(bins, **fields, shares=Shares((0.0,) * 4, (0.0, 0.0, 1.0, 0.0)))
    cost = example_losses(single, far, jnp.full(6, 0.25, jnp.float32))
    np.testing.assert_allclose(cost, 0, atol=1e-6)


@given(st.sampled_from(SOME_BINS[1:]), st.sampled_from(DECODINGS), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_the_recorded_prior_is_bayes_rule(bins, decoding, seed):
    generator = np.random.default_rng(seed)
    shares = shares_of(bins, generator)
    fields = {"kind": "classification", "decode": decoding, "prior": "recorded"}
    head = head_of(bins, **fields, shares=shares)
    recorded, drawn = np.array(shares.recorded), np.array(shares.drawn)
    filled = drawn > 0
    # How likely each image is in each bin; a network that learned the draws says what follows.
    likely = generator.random((20, head.outputs)) + 0.01
    learned = np.where(filled, likely * drawn, 1e-300)
    wanted = likely * recorded / (likely * recorded).sum(axis=1, keepdims=True)
    values = np.array(head.bins.values)
    by_hand = wanted @ values if decoding == "expectation" else values[wanted.argmax(axis=1)]
    found = decode(head, jnp.log(learned))
    np.testing.assert_allclose(found, by_hand, rtol=1e-9, atol=1e-9)


@given(classifications("expectation"), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_cross_entropy_is_the_formula_on_the_bin_that_the_host_finds(head, seed):
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 5, (40, head.outputs))
    targets = np.concatenate(
        [generator.uniform(-2.5, 2.5, 20), generator.choice(head.bins.edges, 20)]
    ).astype(np.float32)
    index = house.bin_index(head.bins, targets)
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
        index = house.bin_index(head.bins, found)
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
