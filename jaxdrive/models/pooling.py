"""The largest and the mean number of windows of a map.

Values and gradients of `max_pool` equal those of `flax.linen.max_pool`, to the bit of a value and
the choice among equal numbers.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxdrive.models.formulations import STOCK, Platform, choose


def max_pool(
    x: jax.Array, *, size: int, stride: int, padding: str = "VALID", platform: Platform
) -> jax.Array:
    """The largest number of each window of size x size, of maps [n, H, W, C].

    Args:
      x: The maps.
      size: Height and width of a window.
      stride: From one window to the next, in rows and in columns.
      padding: "VALID": windows that fit into the map. "SAME": ceil(H / stride) rows of windows;
        what lies outside of the map is never the largest.
      platform: Where it is computed, see `formulations.py`.
    """
    n, height, width, channels = x.shape
    positions = n * -(-height // stride) * -(-width // stride)
    if choose(platform, "max_pool", (size, stride, positions, channels)) == STOCK:
        return stock_max_pool(x, size=size, stride=stride, padding=padding)
    return max_pool_by_shifts(x, size=size, stride=stride, padding=padding)


def stock_max_pool(x: jax.Array, *, size: int, stride: int, padding: str) -> jax.Array:
    """`max_pool` as XLA's own windows."""
    return nn.max_pool(x, (size, size), strides=(stride, stride), padding=padding)


def max_pool_by_shifts(x: jax.Array, *, size: int, stride: int, padding: str) -> jax.Array:
    """`max_pool` as shifted copies of the maps, compared one after the other.

    XLA's own gradient of windows runs on one core of a CPU.
    """
    pads = jax.lax.padtype_to_pads(x.shape[1:3], (size, size), (stride, stride), padding)
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    for axis in (2, 1):
        last = (x.shape[axis] - size) // stride * stride
        shifted = [
            jax.lax.slice_in_dim(x, start, start + last + 1, stride, axis) for start in range(size)
        ]
        x = functools.reduce(_larger, shifted)
    return x


def _larger(one: jax.Array, other: jax.Array) -> jax.Array:
    # Of equal numbers the first one alone gets the gradient, as in XLA; jnp.maximum halves it.
    return jnp.where(other > one, other, one)


def average_pool(x: jax.Array, *, size: int) -> jax.Array:
    """The mean of each window of size x size that fits, side by side: [n, H, W, C] to its dtype.

    Sums are in float32 at least, where XLA's windows would sum in bfloat16.
    """
    n, height, width, channels = x.shape
    rows, columns = height // size, width // size
    windows = x[:, : rows * size, : columns * size]
    return windows.reshape(n, rows, size, columns, size, channels).mean(axis=(2, 4))
