"""Layers that Flax does not have in the form needed here."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy, 2015) with statistics for each of several groups.

    The batch is `groups` equal sub-batches one after the other, one for each head. Every group is
    normalised by its own mean and variance, and the moving averages take the groups in order, so
    that one pass over all heads equals separate passes one after the other.

    Statistics keep the dtype that they were restored or cast to (Flax's own layer forces float32).

    Attributes:
      momentum: Share of a moving average that one update keeps.
      epsilon: Added to the variance.
      axis_name: The device axis over which statistics are averaged; None keeps them per device.
    """

    momentum: float
    epsilon: float
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, groups: int = 1) -> jax.Array:
        """Normalises `x` [groups * B, ..., C] over all axes but the last; same shape and dtype."""
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        moving = {
            "mean": self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32),
            "variance": self.variable(
                "batch_stats", "variance", jnp.ones, (channels,), jnp.float32
            ),
        }
        grouped = x.reshape(groups, -1, channels)
        if train:
            mean = self._average(grouped.mean(axis=1, keepdims=True))
            variance = self._average(jnp.square(grouped - mean).mean(axis=1, keepdims=True))
            self._move(moving["mean"], mean)
            self._move(moving["variance"], variance)
        else:
            mean, variance = (value.value.reshape(1, 1, -1) for value in moving.values())
        factor = jax.lax.rsqrt(variance + self.epsilon) * scale.reshape(1, 1, -1)
        return ((grouped - mean) * factor + bias.reshape(1, 1, -1)).reshape(x.shape)

    def _move(self, moving: nn.Variable, now: jax.Array) -> None:
        """Takes the statistics of every group, [groups, 1, C], into a moving average, in order."""
        if not self.is_initializing():
            for group in now[:, 0]:
                moving.value = self.momentum * moving.value + (1 - self.momentum) * group

    def _average(self, value: jax.Array) -> jax.Array:
        if self.axis_name is None or self.is_initializing():
            return value
        return jax.lax.pmean(value, self.axis_name)
