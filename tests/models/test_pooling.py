"""Pooling against the stock form, also where several numbers of a window are the largest."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxdrive.models.pooling import FORMULATIONS, average_pool, max_pool


@pytest.mark.parametrize("formulation", [*FORMULATIONS, "auto"])
@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [(2, 2, "VALID"), (3, 1, "VALID"), (3, 1, "SAME"), (2, 1, "SAME"), (3, 2, "VALID")],
)
def test_values_and_gradients_are_those_of_the_stock_form(size, stride, padding, formulation):
    generator = np.random.default_rng(0)
    # Few values, so that most windows have their largest number more than once; sums of few whole
    # numbers are exact in any order.
    x = jnp.asarray(generator.integers(-2, 2, (2, 7, 10, 3)), jnp.float32)

    def ours(x):
        return max_pool(x, size=size, stride=stride, padding=padding, formulation=formulation)

    def stock(x):
        return nn.max_pool(x, (size, size), strides=(stride, stride), padding=padding)

    weights = jnp.asarray(generator.integers(1, 5, stock(x).shape), jnp.float32)
    np.testing.assert_array_equal(ours(x), stock(x))
    got, want = (jax.grad(lambda x, f=f: (f(x) * weights).sum())(x) for f in (ours, stock))
    np.testing.assert_array_equal(got, want)


def test_the_mean_is_of_the_windows_that_fit():
    x = np.random.default_rng(0).normal(size=(2, 9, 13, 3)).astype(np.float32)
    got = average_pool(x, size=4)
    assert got.shape == (2, 2, 3, 3)
    for row, column in itertools.product(range(2), range(3)):
        window = x[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        np.testing.assert_allclose(got[:, row, column], window.mean(axis=(1, 2)), atol=1e-6)


def test_a_mean_in_bfloat16_is_rounded_once():
    x = jnp.asarray(np.random.default_rng(0).uniform(1, 2, (1, 64, 64, 1)), jnp.bfloat16)
    got = average_pool(x, size=64)
    assert got.dtype == jnp.bfloat16
    exact = np.asarray(x, np.float64).mean()
    assert abs(float(got[0, 0, 0, 0]) - exact) <= 2**-8
