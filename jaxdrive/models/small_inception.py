"""A small network of Inception modules (Szegedy et al., 2014, https://arxiv.org/abs/1409.4842).

On pictures of 90 x 320, with one head, common=() and head=(): 33,073 parameters in all. Plain
convolutions and their pooling are without padding; inside a module everything keeps its size.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxdrive.models.formulations import Platform
from jaxdrive.models.layers import conv
from jaxdrive.models.pooling import average_pool, max_pool
from jaxdrive.models.sizes import check_size, least_size

# Output channels of the plain convolutions before the modules, of 3x3 each.
_PLAIN = (8, 16)
_MODULES = 2
# Output channels of the 1x1 convolutions of a module, and of the wider ones.
_NARROW, _WIDE = 16, 8
_AVERAGED = 8
LEAST_SIZE = least_size([(3, 1)] * (len(_PLAIN) + 1) + [(_AVERAGED, _AVERAGED)])


class SmallInception(nn.Module):
    """Two convolutions, max pooling, two modules, and means of 8x8 windows, flattened.

    Attributes:
      platform: Where it is computed, see `formulations.py`.
    """

    platform: Platform

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool, groups: int) -> jax.Array:
        """Maps pictures [n, H, W, 3] in -1 to 1 to features [n, F] of their dtype.

        Raises:
          UserError: The pictures are too small.
        """
        check_size(image, least=LEAST_SIZE, backbone="small_inception")
        x = image
        for number, channels in enumerate(_PLAIN, start=1):
            convolution = conv(
                channels,
                3,
                padding="VALID",
                platform=self.platform,
                dtype=x.dtype,
                name=f"conv{number}",
            )
            x = nn.relu(convolution(x))
        x = max_pool(x, size=3, stride=1, platform=self.platform)
        for number in range(1, _MODULES + 1):
            x = InceptionModule(self.platform, name=f"module{number}")(x)
        x = average_pool(x, size=_AVERAGED)
        return x.reshape(x.shape[0], -1)


class InceptionModule(nn.Module):
    """Four branches side by side: 1x1, 1x1 to 5x5, 1x1 to 3x3, and max pooling to 1x1.

    Attributes:
      platform: Where it is computed, see `formulations.py`.
    """

    platform: Platform

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [n, H, W, C] to [n, H, W, 48] of the same dtype, the branches in this order."""

        def convolve(name: str, channels: int, size: int, x: jax.Array) -> jax.Array:
            layer = conv(channels, size, platform=self.platform, dtype=x.dtype, name=name)
            return nn.relu(layer(x))

        direct = convolve("direct", _NARROW, 1, x)
        before_5x5 = convolve("before_5x5", _NARROW, 1, x)
        before_3x3 = convolve("before_3x3", _NARROW, 1, x)
        pooled = max_pool(x, size=3, stride=1, padding="SAME", platform=self.platform)
        after_pool = convolve("after_pool", _NARROW, 1, pooled)
        after_5x5 = convolve("5x5", _WIDE, 5, before_5x5)
        after_3x3 = convolve("3x3", _WIDE, 3, before_3x3)
        return jnp.concatenate([direct, after_5x5, after_3x3, after_pool], axis=-1)
