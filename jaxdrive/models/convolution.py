"""Convolutions in the forms that are fast on a platform, as functions of arrays.

Images are [n, H, W, C], kernels [height, width, inputs, outputs]. All forms of a function have the
same values and gradients, up to the order of sums.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from jaxdrive.models.formulations import STOCK, Platform, choose
from jaxdrive.models.native_convolution import native_conv
from jaxdrive.models.sizes import Padding, output_size

_LAYOUT = ("NHWC", "HWIO", "NHWC")
# Times that a batch is added to its other half before XLA sums the rest.
_HALVINGS = 3
# Images left after that which are added one by one.
_FEW_IMAGES = 3


def conv_function(platform: Platform) -> Callable[..., jax.Array] | None:
    """What `flax.linen.Conv` takes as `conv_general_dilated`; None means XLA's own."""
    return functools.partial(_conv, platform) if platform.name == "cpu" else None


def _conv(
    platform: Platform, x: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **settings: Any
) -> jax.Array:
    """`jax.lax.conv_general_dilated` in the fastest form."""
    if not _is_plain(kernel, strides, settings):
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **settings)
    pads = padding
    if isinstance(padding, str):
        pads = jax.lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    (above, below), (left, right) = pads
    pads, stride = ((int(above), int(below)), (int(left), int(right))), int(strides[0])
    height, width = output_size(x.shape, kernel.shape, stride, pads)
    shape = (max(kernel.shape[:2]), stride, x.shape[0] * height * width, *kernel.shape[2:])
    if min(shape) < 1:
        return stock_conv(x, kernel, stride, pads)
    if platform.native and _suits_native(x, kernel, pads):
        return native_conv(x, kernel, stride, pads)
    if choose(platform, "conv_input_gradient", shape) == STOCK:
        return stock_conv(x, kernel, stride, pads)
    return conv_by_phases(x, kernel, stride, pads)


def _suits_native(x: jax.Array, kernel: jax.Array, padding: Padding) -> bool:
    """Whether the native convolutions can compute this plain one."""
    return x.dtype == kernel.dtype == jnp.float32 and min(map(min, padding)) >= 0


def _is_plain(kernel: jax.Array, strides: Any, settings: dict[str, Any]) -> bool:
    """Whether this is a convolution of images with one stride, no dilation and no groups."""
    return (
        kernel.ndim == 4
        and len(set(strides)) == 1
        and settings.get("feature_group_count", 1) == 1
        and all(
            factor == 1
            for name in ("lhs_dilation", "rhs_dilation")
            for factor in settings.get(name) or ()
        )
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv_by_phases(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """A convolution whose input gradient multiplies no zeros.

    XLA's own input gradient puts zeros between the rows and columns of the output's gradient and
    convolves that: with stride 2, three of four products are with 0. Here the pixels of the input
    form stride * stride phases, by row and column modulo the stride. Each phase meets its own part
    of the kernel. One convolution with stride 1 computes all phases as channels, which then take
    their places (compare W. Shi et al., "Real-time single image and video super-resolution using
    an efficient sub-pixel convolutional neural network", 2016).

    Args:
      x: Images, [n, H, W, C], of any float dtype.
      kernel: [height, width, C, outputs], of the same dtype.
      stride: From one window to the next, in rows and in columns, at least 1.
      padding: Zeros around the images, at least 0.

    Returns:
      [n, rows of windows, columns of windows, outputs], of the same dtype.
    """
    return stock_conv(x, kernel, stride, padding)


def _forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return stock_conv(x, kernel, stride, padding), (x, kernel)


def _backward(
    stride: int, padding: Padding, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    _, pull_back = jax.vjp(lambda kernel: stock_conv(x, kernel, stride, padding), kernel)
    by_phases = _input_gradient(kernel, gradient, x.shape, stride, padding)
    return by_phases, pull_back(gradient)[0]


conv_by_phases.defvjp(_forward, _backward)


def _input_gradient(
    kernel: jax.Array,
    gradient: jax.Array,
    shape: tuple[int, ...],
    stride: int,
    padding: Padding,
) -> jax.Array:
    """The gradient of the images, of `shape`, from that of the output."""
    rows, columns = (-(-size // stride) for size in kernel.shape[:2])
    inputs, outputs = kernel.shape[2:]
    missing = (rows * stride - kernel.shape[0], columns * stride - kernel.shape[1])
    parts = jnp.pad(kernel, ((0, missing[0]), (0, missing[1]), (0, 0), (0, 0)))
    parts = parts.reshape(rows, stride, columns, stride, inputs, outputs)
    # [rows, columns, outputs, phases * inputs], turned round as a gradient's kernel is.
    parts = parts.transpose(0, 2, 5, 1, 3, 4).reshape(rows, columns, outputs, -1)[::-1, ::-1]
    full = ((rows - 1, rows - 1), (columns - 1, columns - 1))
    phases = stock_conv(gradient, parts, 1, full)
    n, height, width, _ = phases.shape
    pixels = phases.reshape(n, height, width, stride, stride, inputs).transpose(0, 1, 3, 2, 4, 5)
    pixels = pixels.reshape(n, height * stride, width * stride, inputs)
    for axis, (before, _) in enumerate(padding, start=1):
        # Pixels that no window reaches have no gradient.
        missed = max(0, before + shape[axis] - pixels.shape[axis])
        pixels = jnp.pad(pixels, [(0, missed if a == axis else 0) for a in range(4)])
        pixels = jax.lax.slice_in_dim(pixels, before, before + shape[axis], axis=axis)
    return pixels


def stock_conv(
    x: jax.Array, kernel: jax.Array, stride: int, padding: str | Padding, groups: int = 1
) -> jax.Array:
    """XLA's own convolution of images with a kernel, with `groups` of channels by themselves."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=_LAYOUT,
        feature_group_count=groups,
    )


def depthwise(x: jax.Array, kernel: jax.Array, *, platform: Platform) -> jax.Array:
    """Convolves every channel by itself, with stride 1 and zeros around: the shape of `x`.

    Args:
      x: Images.
      kernel: [3, 3, 1, C].
      platform: Where it is computed.
    """
    n, height, width, channels = x.shape
    form = choose(platform, "depthwise", (n * height * width, channels))
    if form == STOCK:
        return stock_conv(x, kernel, 1, "SAME", groups=channels)
    return depthwise_products(x, kernel)


@jax.custom_vjp
def depthwise_products(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A depthwise convolution as nine shifted copies, each times a weight of every channel.

    Its kernel gradient adds images to each other before it sums over their pixels: XLA's sum of
    all pixels runs on one core.
    """
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    total = jnp.zeros_like(x)
    for row, column in itertools.product(range(3), range(3)):
        shifted = padded[:, row : row + height, column : column + width]
        total += shifted * kernel[row : row + 1, column : column + 1]
    return total


def _depthwise_backward(
    saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    sums = [_sum_pixels(a * b) for a, b in _overlaps(x, gradient)]
    return depthwise_products(gradient, kernel[::-1, ::-1]), jnp.stack(sums).reshape(kernel.shape)


depthwise_products.defvjp(
    lambda x, kernel: (depthwise_products(x, kernel), (x, kernel)), _depthwise_backward
)


def _overlaps(x: jax.Array, gradient: jax.Array) -> Iterator[tuple[jax.Array, jax.Array]]:
    """By weight of a 3x3 kernel, the pixels that it meets and the gradients of what it makes."""
    height, width = x.shape[1:3]

    def inside(moved: int, size: int) -> slice:
        return slice(max(0, moved), size + min(0, moved))

    for down, right in itertools.product((-1, 0, 1), (-1, 0, 1)):
        yield (
            x[:, inside(down, height), inside(right, width)],
            gradient[:, inside(-down, height), inside(-right, width)],
        )


def _sum_pixels(values: jax.Array) -> jax.Array:
    """Sums [n, H, W, C] to [C]."""
    for _ in range(_HALVINGS):
        if len(values) % 2 == 0:
            values = values[: len(values) // 2] + values[len(values) // 2 :]
    if len(values) <= _FEW_IMAGES:
        values = functools.reduce(jnp.add, [values[i : i + 1] for i in range(len(values))])
    return values.sum(axis=(0, 1, 2))


def pointwise(x: jax.Array, kernel: jax.Array, *, stride: int, platform: Platform) -> jax.Array:
    """A 1x1 convolution: [n, ceil(H / stride), ceil(W / stride), outputs].

    Args:
      x: Images.
      kernel: [1, 1, C, outputs].
      stride: Takes every so many-th row and column.
      platform: Where it is computed.
    """
    n, height, width, channels = x.shape
    positions = n * -(-height // stride) * -(-width // stride)
    form = choose(platform, "pointwise", (positions, channels, kernel.shape[3]))
    if form == STOCK:
        return stock_conv(x, kernel, stride, "SAME")
    return pointwise_product(x, kernel, stride)


def pointwise_product(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """A 1x1 convolution as one matrix product over all pixels."""
    x = x[:, ::stride, ::stride]
    return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:-1], kernel.shape[3])
