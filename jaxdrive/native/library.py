"""Loads the native convolutions into this process and registers them with JAX."""

import ctypes
import functools

import jax

from jaxdrive.logs import logger
from jaxdrive.native import FORWARD, INPUT_GRADIENT, KERNEL_GRADIENT
from jaxdrive.native.build import BuildError, OneDnn, compiled, find_onednn


@functools.cache
def load() -> str | None:
    """Loads and registers the native convolutions, once for a process.

    Where the extra `native` is not installed, it says nothing. Where it is installed and cannot be
    used, one warning says why and what to do.

    Returns:
      What computes them, such as "oneDNN 2023.2.0"; None where they cannot be used.
    """
    onednn = find_onednn()
    if onednn is None:
        return None
    try:
        _register(onednn)
    except BuildError as error:
        logger.warning(
            "The extra `native` is installed (oneDNN %s), but %s. Convolutions are JAX's own, which"
            " are slower; --config.native=off leaves out this message",
            onednn.version,
            error,
        )
        return None
    return f"oneDNN {onednn.version}"


def _register(onednn: OneDnn) -> None:
    path = compiled(onednn)
    try:
        # The compiled library needs this one by name, and finds it in the process.
        ctypes.CDLL(str(onednn.library))
        library = ctypes.CDLL(str(path))
        functions = {
            name: getattr(library, name) for name in (FORWARD, INPUT_GRADIENT, KERNEL_GRADIENT)
        }
    except (OSError, AttributeError) as error:
        raise BuildError(
            f"{path} cannot be loaded ({error}): delete it, and it is compiled again"
        ) from error
    for name, function in functions.items():
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(function), platform="cpu")
