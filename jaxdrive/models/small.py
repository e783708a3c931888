"""A small convolution net for small pictures: the backbone of the quickstart."""

from collections.abc import Callable, Sequence

import jax
from flax import linen as nn

from jaxdrive.models.formulations import Platform
from jaxdrive.models.layers import BatchNorm, conv


class SmallNet(nn.Module):
    """Strided convolutions, then the whole map flattened, since where the road is matters.

    Attributes:
      channels: Output channels of every convolution; each halves the picture.
      batch_norm: Makes the normalisation after every convolution; None leaves it out.
      platform: Where it is computed, see `formulations.py`.
    """

    channels: Sequence[int]
    batch_norm: Callable[[], BatchNorm] | None
    platform: Platform

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool, groups: int) -> jax.Array:
        """Maps pictures [n, H, W, 3] in -1 to 1 to features [n, F] of their dtype."""
        x = image
        for index, channels in enumerate(self.channels):
            size = 5 if index == 0 else 3
            x = conv(
                channels,
                size,
                stride=2,
                platform=self.platform,
                use_bias=self.batch_norm is None,
                dtype=image.dtype,
            )(x)
            if self.batch_norm is not None:
                x = self.batch_norm()(x, train=train, groups=groups)
            x = nn.relu(x)
        return x.reshape(x.shape[0], -1)
