"""Dropout (Srivastava et al., 2014) with a random key for every row of a batch.

Flax's own layer draws for the whole array from one key: what a row loses would depend on the device
that it is on.
"""

import jax
import jax.numpy as jnp


def dropout(x: jax.Array, keys: jax.Array, *, rate: float) -> jax.Array:
    """Sets numbers to 0 at random, and divides the others by the share that is left.

    Args:
      x: Features [n, F].
      keys: Random keys of the rows, [n].
      rate: The probability with which each number is dropped, 0 <= rate < 1.

    Returns:
      [n, F], of the dtype of `x`. What is dropped depends on keys, rate and F alone.
    """
    draw = jax.vmap(lambda key: jax.random.uniform(key, x.shape[1:], jnp.float32))
    kept = draw(keys) >= rate
    return jnp.where(kept, x / jnp.asarray(1 - rate, x.dtype), jnp.zeros((), x.dtype))
