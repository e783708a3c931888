"""Output sizes of convolutions, and the smallest image for windows without padding."""

from collections.abc import Sequence

import jax

from jaxdrive.errors import UserError

# Rows to pad before and after, then columns.
Padding = tuple[tuple[int, int], tuple[int, int]]


def output_size(
    image_shape: tuple[int, ...], kernel_shape: tuple[int, ...], stride: int, padding: Padding
) -> tuple[int, int]:
    """Height and width of a convolution's output.

    Args:
      image_shape: [n, H, W, C].
      kernel_shape: [height, width, C, outputs].
      stride: From one window to the next, in rows and in columns.
      padding: Zeros around the images.
    """
    height, width = (
        (size + sum(pads) - window) // stride + 1
        for size, pads, window in zip(image_shape[1:3], padding, kernel_shape[:2], strict=True)
    )
    return height, width


def least_size(windows: Sequence[tuple[int, int]]) -> int:
    """The least height and width that leaves something to every window (size, stride) in turn."""
    least = 1
    for size, stride in reversed(windows):
        least = (least - 1) * stride + size
    return least


def check_size(image: jax.Array, *, least: int, backbone: str) -> None:
    """Raises UserError where pictures [n, H, W, C] are lower or narrower than `least`."""
    height, width = image.shape[1:3]
    if min(height, width) < least:
        raise UserError(
            f"config.model.backbone={backbone!r} needs pictures of at least {least}x{least}, found"
            f" {height}x{width}: raise config.data.height and width"
        )
