"""The first net that people try on pictures of the Udacity simulator: convolve, pool, three times.

On pictures of 90 x 320, with one head and common=(128,), head=(): 1,420,481 parameters in all.
"""

import jax
from flax import linen as nn

from jaxdrive.models.formulations import Platform
from jaxdrive.models.layers import conv
from jaxdrive.models.pooling import max_pool
from jaxdrive.models.sizes import check_size, least_size

_BLOCKS = 3
_CHANNELS = 32
# (size, stride) of what each block does.
_CONVOLUTION, _POOL = (3, 1), (2, 2)
LEAST_SIZE = least_size((_CONVOLUTION, _POOL) * _BLOCKS)


class FirstNet(nn.Module):
    """Three convolutions without padding, each with a ReLU and max pooling; the map flattened.

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
        check_size(image, least=LEAST_SIZE, backbone="first_net")
        x = image
        for _ in range(_BLOCKS):
            size, stride = _CONVOLUTION
            convolution = conv(
                _CHANNELS,
                size,
                stride=stride,
                padding="VALID",
                platform=self.platform,
                dtype=image.dtype,
            )
            size, stride = _POOL
            x = max_pool(nn.relu(convolution(x)), size=size, stride=stride, platform=self.platform)
        return x.reshape(x.shape[0], -1)
