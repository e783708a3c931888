"""Layers that Flax does not have in the form needed here.

A layer computes in the dtype of its input and keeps its parameters in float32, or in what they were
cast to.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxdrive.models.convolution import conv_function, depthwise, pointwise
from jaxdrive.models.formulations import Platform

# As Keras draws first kernels (Glorot and Bengio, 2010).
KERNEL_INIT = nn.initializers.glorot_uniform()


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy, 2015) with statistics for each of several groups.

    The batch is `groups` equal sub-batches one after the other, one for each head. Every group is
    normalised by its own mean and variance, and the moving averages take the groups in order, so
    that one pass over all heads equals separate passes one after the other.

    Statistics are computed and kept in the parameters' dtype, also where the input is bfloat16
    (Flax's own layer forces float32, under float64 too).

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
        # An axis of length 1 for a single group makes the sums 3 to 7 times as slow on a CPU.
        grouped = x.reshape(*([groups] if groups > 1 else []), -1, channels).astype(scale.dtype)
        one_row = (1,) * (grouped.ndim - 1) + (channels,)
        if train:
            mean = self._average(grouped.mean(axis=-2, keepdims=True))
            # Differences from the mean sum to 0. So the variance has no gradient by way of the
            # mean, and that of the normalisation needs no sum of its own: it is the bias's.
            fixed = jax.lax.stop_gradient(mean)
            variance = self._average(jnp.square(grouped - fixed).mean(axis=-2, keepdims=True))
            self._move(moving["mean"], mean)
            self._move(moving["variance"], variance)
        else:
            mean, variance = (value.value.reshape(one_row) for value in moving.values())
            fixed = mean
        factor = jax.lax.rsqrt(variance + self.epsilon) * scale.reshape(one_row)
        shift = bias.reshape(one_row) - (mean - fixed) * factor
        return ((grouped - fixed) * factor + shift).reshape(x.shape).astype(x.dtype)

    def _move(self, moving: nn.Variable, now: jax.Array) -> None:
        """Takes the statistics of every group, [groups, C] after a reshape, in order."""
        if not self.is_initializing():
            for group in now.reshape(-1, now.shape[-1]):
                moving.value = self.momentum * moving.value + (1 - self.momentum) * group

    def _average(self, value: jax.Array) -> jax.Array:
        if self.axis_name is None or self.is_initializing():
            return value
        return jax.lax.pmean(value, self.axis_name)


def conv(
    channels: int,
    size: int,
    *,
    stride: int = 1,
    padding: str = "SAME",
    platform: Platform,
    **settings: Any,
) -> nn.Conv:
    """Flax's convolution in the form that is fast on a platform.

    Args:
      channels: Output channels.
      size: Height and width of its kernel.
      stride: From one window to the next.
      padding: "SAME" or "VALID".
      platform: Where it is computed, see `formulations.py`.
      settings: Further ones of `flax.linen.Conv`.
    """
    return nn.Conv(
        channels,
        (size, size),
        strides=stride,
        padding=padding,
        conv_general_dilated=conv_function(platform),
        **settings,
    )


class SeparableConv(nn.Module):
    """A 3x3 convolution of every channel by itself, then a 1x1 convolution; without biases.

    Attributes:
      features: Output channels.
      platform: Where it is computed, see `formulations.py`.
    """

    features: int
    platform: Platform

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [n, H, W, C] to [n, H, W, features], padded with zeros."""
        x = DepthwiseConv(self.platform, name="depthwise")(x)
        return PointwiseConv(self.features, self.platform, name="pointwise")(x)


class DepthwiseConv(nn.Module):
    """A 3x3 convolution of every channel by itself, with stride 1, zero padding and no bias.

    Attributes:
      platform: Where it is computed, see `formulations.py`.
    """

    platform: Platform

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [n, H, W, C] to the same shape and dtype."""
        kernel = _kernel(self, (3, 3, 1, x.shape[-1]), x.dtype)
        return depthwise(x, kernel, platform=self.platform)


class PointwiseConv(nn.Module):
    """A 1x1 convolution without bias.

    Attributes:
      features: Output channels.
      platform: Where it is computed, see `formulations.py`.
      stride: Takes every so many-th row and column.
    """

    features: int
    platform: Platform
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [n, H, W, C] to [n, ceil(H / stride), ceil(W / stride), features]."""
        kernel = _kernel(self, (1, 1, x.shape[-1], self.features), x.dtype)
        return pointwise(x, kernel, stride=self.stride, platform=self.platform)


def _kernel(layer: nn.Module, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    """The parameter "kernel" with the shape and the first values of `nn.Conv`'s."""
    kernel: jax.Array = layer.param("kernel", KERNEL_INIT, shape, jnp.float32)
    return kernel.astype(dtype)
