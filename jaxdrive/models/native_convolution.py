"""A convolution that oneDNN computes on a CPU, as a function of arrays.

`jaxdrive.native.library.load` has to have registered its parts before a program with it runs.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxdrive.models.sizes import Padding, output_size
from jaxdrive.native import FORWARD, INPUT_GRADIENT, KERNEL_GRADIENT


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def native_conv(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """A convolution whose value and gradients are computed by oneDNN.

    Args:
      x: Images, [n, H, W, C], float32.
      kernel: [height, width, inputs, outputs], float32.
      stride: From one window to the next, in rows and in columns.
      padding: Zeros around the images, at least 0.
    """
    size = output_size(x.shape, kernel.shape, stride, padding)
    shape = (x.shape[0], *size, kernel.shape[3])
    return _call(FORWARD, shape, x, kernel, stride, padding)


def _forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return native_conv(x, kernel, stride, padding), (x, kernel)


def _backward(
    stride: int, padding: Padding, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    return (
        _call(INPUT_GRADIENT, x.shape, kernel, gradient, stride, padding),
        _call(KERNEL_GRADIENT, kernel.shape, x, gradient, stride, padding),
    )


native_conv.defvjp(_forward, _backward)


def _call(
    target: str,
    shape: tuple[int, ...],
    first: jax.Array,
    second: jax.Array,
    stride: int,
    padding: Padding,
) -> jax.Array:
    (above, below), (left, right) = padding
    settings = {
        "stride": stride,
        "above": above,
        "below": below,
        "left": left,
        "right": right,
    }
    function = jax.ffi.ffi_call(target, jax.ShapeDtypeStruct(shape, jnp.float32))
    result: jax.Array = function(
        first, second, **{name: np.int64(value) for name, value in settings.items()}
    )
    return result
