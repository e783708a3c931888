"""The largest and the mean number of windows of a map.

Values and gradients of `max_pool` are those of `flax.linen.max_pool`, to the bit of a value and the
choice among equal ones. On CPU it is written as shifted copies: XLA's own gradient takes four to
nine times as long there.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

# "stock": XLA's own windows. "shifts": shifted copies of the map, compared one after the other.
FORMULATIONS = ("stock", "shifts")


def max_pool(
    x: jax.Array, *, size: int, stride: int, padding: str = "VALID", formulation: str = "auto"
) -> jax.Array:
    """The largest of each window of size x size, of maps [n, H, W, C].

    Args:
      x: The maps.
      size: Height and width of a window.
      stride: Rows and columns from one window to the next.
      padding: "VALID": windows that fit into the map. "SAME", for stride 1 alone: one about every
        point, and nothing outside of the map is the largest.
      formulation: One of `FORMULATIONS`, or "auto" for the faster one on this platform.
    """
    if formulation == "auto":
        formulation = "shifts" if jax.default_backend() == "cpu" else "stock"
    if formulation == "stock":
        return nn.max_pool(x, (size, size), strides=(stride, stride), padding=padding)
    if padding == "SAME":
        sides = ((size - 1) // 2, size // 2)
        x = jnp.pad(x, ((0, 0), sides, sides, (0, 0)), constant_values=-jnp.inf)
    for axis in (2, 1):
        last = (x.shape[axis] - size) // stride * stride
        shifted = [
            jax.lax.slice_in_dim(x, start, start + last + 1, stride, axis) for start in range(size)
        ]
        x = functools.reduce(_larger, shifted)
    return x


def _larger(one: jax.Array, other: jax.Array) -> jax.Array:
    # Where they are equal the first one alone gets the gradient, as in XLA; jnp.maximum halves it.
    return jnp.where(other > one, other, one)


def average_pool(x: jax.Array, *, size: int) -> jax.Array:
    """The mean of each window of size x size that fits, side by side: [n, H, W, C] to its dtype.

    Sums are in float32 at least, where XLA's windows would sum in bfloat16.
    """
    n, height, width, channels = x.shape
    rows, columns = height // size, width // size
    windows = x[:, : rows * size, : columns * size]
    return windows.reshape(n, rows, size, columns, size, channels).mean(axis=(2, 4))
