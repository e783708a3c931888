"""A small network of Inception modules (Szegedy et al., 2014, https://arxiv.org/abs/1409.4842).

Every convolution is padded to keep the size of its map, and is followed by a ReLU and a
normalisation. On images of 90 x 320, with one head, common=() and head=(): 35,681 numbers in all,
368 of which are moving averages.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxdrive.models.formulations import Platform
from jaxdrive.models.layers import BatchNorm, conv
from jaxdrive.models.pooling import average_pool, max_pool
from jaxdrive.models.sizes import check_size, least_size

# Output channels of the plain convolutions before the modules, of 3x3 each.
_PLAIN = (8, 16)
_MODULES = 2
# Output channels of the 1x1 convolutions of a module, and of the wider ones.
_NARROW, _WIDE = 16, 8
_POOLED, _AVERAGED = 3, 8
LEAST_SIZE = least_size([(_POOLED, 1), (_AVERAGED, _AVERAGED)])

# Maps [n, H, W, C], output channels, height and width of the kernel, and a name, to the maps after
# a convolution, a ReLU and a normalisation.
_Convolve = Callable[[jax.Array, int, int, str], jax.Array]


class SmallInception(nn.Module):
    """Two convolutions, max pooling, two modules, and means of 8x8 windows, flattened.

    Attributes:
      batch_norm: Makes the normalisation after every convolution.
      platform: Where it is computed, see `formulations.py`.
    """

    batch_norm: Callable[..., BatchNorm]
    platform: Platform

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool, groups: int) -> jax.Array:
        """Maps images [n, H, W, 3] in -1 to 1 to features [n, F] of their dtype.

        Raises:
          UserError: The images are too small.
        """
        check_size(image, least=LEAST_SIZE, backbone="small_inception")
        convolve = _convolve(self.batch_norm, self.platform, train=train, groups=groups)
        x = image
        for number, channels in enumerate(_PLAIN, start=1):
            x = convolve(x, channels, 3, f"conv{number}")
        x = max_pool(x, size=_POOLED, stride=1, platform=self.platform)
        for number in range(1, _MODULES + 1):
            module = InceptionModule(self.batch_norm, self.platform, name=f"module{number}")
            x = module(x, train=train, groups=groups)
        x = average_pool(x, size=_AVERAGED)
        return x.reshape(x.shape[0], -1)


class InceptionModule(nn.Module):
    """Four branches side by side: 1x1, 1x1 to 5x5, 1x1 to 3x3, and max pooling to 1x1.

    Attributes:
      batch_norm: Makes the normalisation after every convolution.
      platform: Where it is computed, see `formulations.py`.
    """

    batch_norm: Callable[..., BatchNorm]
    platform: Platform

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, groups: int) -> jax.Array:
        """Maps [n, H, W, C] to [n, H, W, 48] of the same dtype, the branches in this order."""
        convolve = _convolve(self.batch_norm, self.platform, train=train, groups=groups)
        direct = convolve(x, _NARROW, 1, "direct")
        before_5x5 = convolve(x, _NARROW, 1, "before_5x5")
        before_3x3 = convolve(x, _NARROW, 1, "before_3x3")
        pooled = max_pool(x, size=_POOLED, stride=1, padding="SAME", platform=self.platform)
        after_pool = convolve(pooled, _NARROW, 1, "after_pool")
        after_5x5 = convolve(before_5x5, _WIDE, 5, "5x5")
        after_3x3 = convolve(before_3x3, _WIDE, 3, "3x3")
        return jnp.concatenate([direct, after_5x5, after_3x3, after_pool], axis=-1)


def _convolve(
    batch_norm: Callable[..., BatchNorm], platform: Platform, *, train: bool, groups: int
) -> _Convolve:
    """What a module adds its layers with, to be called inside it."""

    def convolve(x: jax.Array, channels: int, size: int, name: str) -> jax.Array:
        layer = conv(channels, size, platform=platform, dtype=x.dtype, name=name)
        return batch_norm(name=f"{name}_bn")(nn.relu(layer(x)), train=train, groups=groups)

    return convolve
