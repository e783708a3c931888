"""How much memory is free and in use, and what to say when a device or the host has too little."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import psutil

from jaxdrive.errors import UserError

_BYTES = re.compile(r"(\d+) ?(?:bytes|B\b)")
_UNITS = re.compile(r"[\d.]+ [KMGTP]i?B")


def free_memory() -> str:
    """The host's free memory, and that of each of this process's devices that tells it."""
    parts = [f"{_text(psutil.virtual_memory().available)} of memory free"]
    for device in jax.local_devices():
        statistics = device.memory_stats() or {}
        if "bytes_limit" in statistics:
            free = statistics["bytes_limit"] - statistics["bytes_in_use"]
            parts.append(f"{_text(free)} on {device}")
    return ", ".join(parts)


def memory_line() -> dict[str, float]:
    """What is logged of memory, in GB (1e9 bytes).

    Returns:
      "train/host_memory_gb", what this process has in the host's memory; and where devices say it,
      "train/device_memory_gb" and "train/device_memory_peak_gb", what the fullest one of this
      process holds now and has held at most.
    """
    line = {"train/host_memory_gb": psutil.Process().memory_info().rss / 1e9}
    devices = [device.memory_stats() or {} for device in jax.local_devices()]
    for name, key in (("", "bytes_in_use"), ("_peak", "peak_bytes_in_use")):
        found = [statistics[key] / 1e9 for statistics in devices if key in statistics]
        if found:
            line[f"train/device_memory{name}_gb"] = max(found)
    return line


@contextmanager
def out_of_memory_told(*, what: str, remedy: str) -> Iterator[None]:
    """Says plainly that memory did not suffice, on a device or on the host.

    Args:
      what: What was done, with batch and size of pictures: "a step of 3 x 64 pictures of 96 x 96".
      remedy: What to lower.

    Raises:
      UserError: What runs inside ran out of memory.
    """
    # What is free is asked before: afterwards, what could not be completed may be given up already.
    free = free_memory()
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(
            f"out of memory in {what}: {asked(str(error))}, with {free} before. {remedy}. Nothing"
            " that was saved is lost"
        ) from error


def asked(message: str) -> str:
    """How much an allocator was asked for, from its message; XLA and numpy say it differently."""
    if found := _BYTES.search(message):
        return f"{_text(int(found[1]))} more were asked for"
    if found := _UNITS.search(message):
        return f"{found[0]} more were asked for"
    return "more was asked for than there was"


def _text(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
