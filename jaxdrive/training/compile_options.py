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
    }
}
# Temporary memory in blocks of at most so many bytes, if no single array is larger. A thread's heap
# in the C library holds 64 MB; what is larger comes fresh from the system in every step, page by
# page. The price: JAX cannot keep a program with several blocks in its compilation cache.
_BLOCKS: dict[str, dict[str, Any]] = {"cpu": {"xla_multiheap_size_constraint_per_heap": 32 * 2**20}}
# Features of one pass, in bytes, up to which a step's temporary memory fits into a heap: PilotNet's
# step takes 45 MB for 14 MB of features.
_FEATURES_THAT_FIT = 16 * 2**20


def compile_options(platform: str, *, feature_bytes: int = 0) -> dict[str, Any]:
    """What `jax.jit` takes as `compiler_options` on a platform.

    An option that the installed compiler does not know is left out, which costs speed alone.

    Args:
      platform: As JAX names it: "cpu", "gpu", "tpu"; that of the default devices.
      feature_bytes: Size of all layers' results in one pass of a train step; 0 for programs
        without a backward pass.
    """
    options = dict(_OPTIONS.get(platform, {}))
    if feature_bytes > _FEATURES_THAT_FIT:
        options |= _BLOCKS.get(platform, {})
    return {name: value for name, value in options.items() if _known(name, value)}


@functools.cache
def _known(name: str, value: Any) -> bool:
    """Compiles a trivial program with an option: XLA refuses names that it does not know."""
    try:
        jax.jit(lambda x: x + 1, compiler_options={name: value}).lower(1.0).compile()
    except jax.errors.JaxRuntimeError:
        logger.warning(
            "The installed jaxlib does not know the option %s: training is slower, its numbers are"
            " the same within rounding. The versions in setup.cfg know it",
            name,
        )
        return False
    return True
