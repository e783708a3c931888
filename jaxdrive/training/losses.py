"""What one prediction costs."""

import jax
import jax.numpy as jnp


def squared_error(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    """(prediction - target)^2 of every example, both in the range of the head's target: [n]."""
    return jnp.square(predictions - targets.astype(predictions.dtype))
