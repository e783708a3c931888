"""PilotNet, the network that first steered a car from a camera alone, without its dense layers.

M. Bojarski and others, "End to End Learning for Self-Driving Cars", 2016,
https://arxiv.org/abs/1604.07316. Two forms are in use:

  PilotNet: as published, on pictures of 66 x 200: 252,219 parameters in all.
  PilotNetSame: padded and normalised, on pictures of 65 x 320 that were cropped alone: 2,441,963
    numbers in all, 472 of which are moving averages.

Counts are with one head and common=(100,), head=(50, 10), which are its dense layers.
"""

from collections.abc import Callable

import jax
from flax import linen as nn

from jaxdrive.models.formulations import Platform
from jaxdrive.models.layers import BatchNorm, conv
from jaxdrive.models.sizes import check_size, least_size

# (channels, size, stride) of the convolutions.
_CONVOLUTIONS = ((24, 5, 2), (36, 5, 2), (48, 5, 2), (64, 3, 1), (64, 3, 1))
LEAST_SIZE = least_size([(size, stride) for _, size, stride in _CONVOLUTIONS])


class PilotNet(nn.Module):
    """Five convolutions without padding, each with a ReLU, then the whole map flattened.

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
        check_size(image, least=LEAST_SIZE, backbone="pilotnet")
        x = image
        for channels, size, stride in _CONVOLUTIONS:
            convolution = conv(
                channels,
                size,
                stride=stride,
                padding="VALID",
                platform=self.platform,
                dtype=image.dtype,
            )
            x = nn.relu(convolution(x))
        return x.reshape(x.shape[0], -1)


class PilotNetSame(nn.Module):
    """The five convolutions with padding, normalised after the ReLU; the whole map flattened.

    Attributes:
      batch_norm: Makes the normalisation after every convolution.
      platform: Where it is computed, see `formulations.py`.
    """

    batch_norm: Callable[[], BatchNorm]
    platform: Platform

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool, groups: int) -> jax.Array:
        """Maps pictures [n, H, W, 3] in -1 to 1 to features [n, F] of their dtype."""
        x = image
        for channels, size, stride in _CONVOLUTIONS:
            convolution = conv(
                channels, size, stride=stride, platform=self.platform, dtype=image.dtype
            )
            x = self.batch_norm()(nn.relu(convolution(x)), train=train, groups=groups)
        return x.reshape(x.shape[0], -1)
