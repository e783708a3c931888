"""Keeps the memory that a step gives back, so that the next step need not fetch it from the system.

XLA allocates new temporary memory for every step. By default the GNU C library returns
large blocks to the system at once; getting them back costs a page fault and cleared memory for each
4 KB. On two cores of a virtual machine that was a third of a step of PilotNet and of Xception
(docs/decisions.md).
"""

import ctypes
import os
import platform

# Parameters of `mallopt` (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
# Blocks up to this size come from the heap, and unused heap up to this size stays.
_LARGEST = 2**31 - 1
# More than the 64 MB of a thread's heap: such a heap then stays when it is empty.
_HEAP_PAD = 2**27
# With one of these the user has chosen an allocator or its settings.
_CHOSEN = ("GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Tells the C library to keep freed memory; the process stays as large as it ever was.

    Call it before other threads start. It changes nothing where the C library is another one, and
    where the user set MALLOC_..., GLIBC_TUNABLES or LD_PRELOAD.

    Returns:
      Whether the settings were made.
    """
    chosen = any(name in _CHOSEN or name.startswith("MALLOC_") for name in os.environ)
    if chosen or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {
        _MMAP_THRESHOLD: _LARGEST,
        _TRIM_THRESHOLD: _LARGEST,
        _TOP_PAD: _HEAP_PAD,
    }
    return all(mallopt(name, value) for name, value in settings.items())
