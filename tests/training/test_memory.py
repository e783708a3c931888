"""What is said when memory does not suffice: by a device, by the host, and by whom not."""

import mmap
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdrive.errors import UserError
from jaxdrive.training.memory import asked, free_memory, memory_line, out_of_memory_told

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


def test_the_line_says_what_the_process_and_the_fullest_device_hold(monkeypatch):
    before = memory_line()
    # Devices of a CPU say nothing of their memory.
    assert before.keys() == {"train/host_memory_gb"}
    with mmap.mmap(-1, 3 * 10**8) as filled:
        filled.write(bytes(3 * 10**8))
        grown = memory_line()["train/host_memory_gb"] - before["train/host_memory_gb"]
    assert 0.2 < grown < 0.5
    statistics = [
        {"bytes_in_use": 2e9, "peak_bytes_in_use": 3e9},
        {"bytes_in_use": 1e9, "peak_bytes_in_use": 5e9},
        None,
    ]
    devices = [
        types.SimpleNamespace(memory_stats=lambda found=found: found) for found in statistics
    ]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    line = memory_line()
    assert line.pop("train/host_memory_gb") > 0
    assert line == {"train/device_memory_gb": 2.0, "train/device_memory_peak_gb": 5.0}
