"""PilotNet, the network that first steered a car from a camera alone, without its dense layers.

M. Bojarski and others, "End to End Learning for Self-Driving Cars", 2016,
https://arxiv.org/abs/1604.07316. On its pictures of 66 x 200 and with one head, its dense layers
are common=(100,) and head=(50, 10): 252,219 parameters in all.
"""

import jax
from flax import linen as nn

from jaxdrive.errors import UserError

# (channels, size, stride) of the convolutions.
_CONVOLUTIONS = ((24, 5, 2), (36, 5, 2), (48, 5, 2), (64, 3, 1), (64, 3, 1))


def least_size() -> int:
    """The least height and width of a picture that leaves something to every convolution."""
    size = 1
    for _, kernel, stride in reversed(_CONVOLUTIONS):
        size = (size - 1) * stride + kernel
    return size


class PilotNet(nn.Module):
    """Five convolutions without padding, each with a ReLU, then the whole map flattened."""

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool, groups: int) -> jax.Array:
        """Maps pictures [n, H, W, 3] in -1 to 1 to features [n, F] of their dtype.

        Raises:
          UserError: The pictures are too small.
        """
        height, width = image.shape[1:3]
        if min(height, width) < least_size():
            raise UserError(
                f"config.model.backbone='pilotnet' needs pictures of at least {least_size()}x"
                f"{least_size()}, found {height}x{width}: raise config.data.height and width"
            )
        x = image
        for channels, size, stride in _CONVOLUTIONS:
            convolution = nn.Conv(
                channels, (size, size), strides=stride, padding="VALID", dtype=image.dtype
            )
            x = nn.relu(convolution(x))
        return x.reshape(x.shape[0], -1)
