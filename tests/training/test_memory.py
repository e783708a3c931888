"""What is said when memory does not suffice: by a device, by the host, and by whom not."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdrive.errors import UserError
from jaxdrive.training.memory import asked, free_memory, out_of_memory_told

PEBIBYTES = 2**50
TOLD = {"what": "training with config.batch_size=8", "remedy": "Lower --config.batch_size"}


@pytest.mark.parametrize(
    ("ask", "size"),
    [
        (lambda: jax.block_until_ready(jnp.zeros(PEBIBYTES, jnp.uint8)), "1,125,899.9 GB"),
        (lambda: np.empty(PEBIBYTES, np.uint8), "1.00 PiB"),
    ],
)
def test_both_allocators_are_understood(ask, size):
    with pytest.raises(UserError) as caught, out_of_memory_told(**TOLD):
        ask()
    message = str(caught.value)
    assert "out of memory in training with config.batch_size=8" in message
    assert f"{size} more were asked for" in message
    assert re.search(r"with [\d.,]+ GB of memory free before", message)
    assert "Lower --config.batch_size" in message


@pytest.mark.parametrize(
    ("message", "size"),
    [
        ("Out of memory while trying to allocate 4770354232 bytes.", "4.8 GB"),
        ("Failed to allocate request for 2.99GiB (3206250496B) on device ordinal 0", "3.2 GB"),
        ("Unable to allocate 5.59 GiB for an array", "5.59 GiB"),
    ],
)
def test_allocators_of_other_devices(message, size):
    assert asked(message) == f"{size} more were asked for"


def test_other_failures_stay_what_they_are():
    assert asked("CUDA_ERROR_OUT_OF_MEMORY") == "more was asked for than there was"
    with pytest.raises(ZeroDivisionError), out_of_memory_told(**TOLD):
        1 / 0  # noqa: B018
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), out_of_memory_told(**TOLD):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")
    assert "GB of memory free" in free_memory()
