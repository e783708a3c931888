"""Options that the step is compiled with, as far as the installed compiler knows them."""

import functools
from typing import Any

import jax

from jaxdrive.logs import logger

# By platform; docs/decisions.md has the measurements.
_OPTIONS: dict[str, dict[str, Any]] = {
    "cpu": {
        # YNNPACK computes matrix products and sums here, but no convolutions: for wide kernels and
        # few channels XLA's own are three times as fast.
        "xla_cpu_experimental_ynn_fusion_type": (
            "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
        ),
        # Temporary memory comes in blocks of at most this many bytes, if a single array is not
        # larger. The C library keeps such blocks; larger ones come fresh from the system in every
        # step, page by page.
        "xla_multiheap_size_constraint_per_heap": 32 * 2**20,
    }
}


@functools.cache
def compile_options(platform: str) -> dict[str, Any]:
    """What `jax.jit` takes as `compiler_options` on a platform.

    An option that the installed compiler does not know is left out, which costs speed alone.

    Args:
      platform: As JAX names it: "cpu", "gpu", "tpu"; that of the default devices.
    """
    known = {
        name: value for name, value in _OPTIONS.get(platform, {}).items() if _known(name, value)
    }
    for name in _OPTIONS.get(platform, {}).keys() - known.keys():
        logger.warning(
            "The installed jaxlib does not know the option %s: training is slower, its numbers are"
            " the same within rounding. The versions in setup.cfg know it",
            name,
        )
    return known


def _known(name: str, value: Any) -> bool:
    """Compiles a trivial program with an option: XLA refuses names that it does not know."""
    try:
        jax.jit(lambda x: x + 1, compiler_options={name: value}).lower(1.0).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
