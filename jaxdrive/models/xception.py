"""Xception (Chollet, 2017, https://arxiv.org/abs/1610.02357) without its classifier, as published.

The names of blocks and layers are those of `keras.applications.Xception`, one level deeper:
`block2_sepconv1_bn` there is `block2/sepconv1_bn` here. The residual convolutions, which have no
names there, are `shortcut`.
"""

from collections.abc import Callable, Sequence

import jax
from flax import linen as nn

from jaxdrive.errors import UserError
from jaxdrive.models.formulations import Platform
from jaxdrive.models.layers import KERNEL_INIT, BatchNorm, PointwiseConv, SeparableConv, conv
from jaxdrive.models.pooling import max_pool

# Pictures have to be as high and as wide as this, as those of the published network.
LEAST_SIZE = 71

# Output channels of the separable convolutions of every block, and how the block ends.
BLOCKS: dict[str, tuple[Sequence[int], str]] = {
    "block2": ((128, 128), "halved"),
    "block3": ((256, 256), "halved"),
    "block4": ((728, 728), "halved"),
    **{f"block{number}": ((728, 728, 728), "added") for number in range(5, 13)},
    "block13": ((728, 1024), "halved"),
    "block14": ((1536, 2048), "plain"),
}


class Xception(nn.Module):
    """Fourteen blocks and the mean over the map: 20,861,480 parameters and statistics.

    Attributes:
      batch_norm: Makes the normalisation after every convolution.
      platform: Where it is computed, see `formulations.py`.
    """

    batch_norm: Callable[..., BatchNorm]
    platform: Platform

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool, groups: int) -> jax.Array:
        """Maps pictures [n, H, W, 3] in -1 to 1 to features [n, 2048] of their dtype.

        Raises:
          UserError: Pictures are smaller than `LEAST_SIZE`.
        """
        height, width = image.shape[1:3]
        if min(height, width) < LEAST_SIZE:
            raise UserError(
                f"config.data.height={height}, config.data.width={width}: pictures for"
                f" config.model.backbone='xception' have to be at least {LEAST_SIZE} high and wide"
            )
        x = Stem(self.batch_norm, self.platform, name="block1")(image, train=train, groups=groups)
        for name, (channels, end) in BLOCKS.items():
            block = Block(channels, end, self.batch_norm, self.platform, name=name)
            x = block(x, train=train, groups=groups)
        return x.mean(axis=(1, 2))


class Stem(nn.Module):
    """Two plain convolutions without padding, the first of which halves the image.

    Attributes:
      batch_norm: Makes the normalisation after every convolution.
      platform: Where it is computed, see `formulations.py`.
    """

    batch_norm: Callable[..., BatchNorm]
    platform: Platform

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, groups: int) -> jax.Array:
        """Maps [n, H, W, 3] to [n, (H - 1) // 2 - 2, (W - 1) // 2 - 2, 64]."""
        for name, channels, stride in (("conv1", 32, 2), ("conv2", 64, 1)):
            x = conv(
                channels,
                3,
                stride=stride,
                padding="VALID",
                platform=self.platform,
                use_bias=False,
                dtype=x.dtype,
                kernel_init=KERNEL_INIT,
                name=name,
            )(x)
            x = nn.relu(self.batch_norm(name=f"{name}_bn")(x, train=train, groups=groups))
        return x


class Block(nn.Module):
    """Separable convolutions, and what came in added to what comes out.

    Attributes:
      channels: Output channels of every separable convolution.
      end: "halved": max pooling halves the map, and a 1x1 convolution what came in. "added": what
        came in is added as it is. "plain": nothing is added.
      batch_norm: Makes the normalisation after every convolution.
      platform: Where it is computed, see `formulations.py`.
    """

    channels: Sequence[int]
    end: str
    batch_norm: Callable[..., BatchNorm]
    platform: Platform

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, groups: int) -> jax.Array:
        """Maps [n, H, W, C] to [n, H, W, channels[-1]], H and W halved and rounded up if asked."""
        came_in = x
        for number, channels in enumerate(self.channels, start=1):
            # The published block2 leaves out the first one, where the stem's changes nothing more.
            if number > 1 or self.end != "plain":
                x = nn.relu(x)
            name = f"sepconv{number}"
            x = SeparableConv(channels, self.platform, name=name)(x)
            x = self.batch_norm(name=f"{name}_bn")(x, train=train, groups=groups)
        if self.end == "plain":
            return nn.relu(x)
        if self.end == "added":
            return x + came_in
        shortcut = PointwiseConv(self.channels[-1], self.platform, stride=2, name="shortcut")(
            came_in
        )
        shortcut = self.batch_norm(name="shortcut_bn")(shortcut, train=train, groups=groups)
        pooled = max_pool(x, size=3, stride=2, padding="SAME", platform=self.platform)
        return pooled + shortcut
