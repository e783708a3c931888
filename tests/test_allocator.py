"""Memory that a process frees stays with it, unless the user chose otherwise."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Page faults of filling new memory of 48 MB ten times, in the main thread and in another one.
PROGRAM = """
import resource, sys, threading
import numpy as np
from jaxdrive import allocator

made = allocator.keep_freed_memory() if sys.argv[1] == "keep" else None

def faults():
    np.ones(6_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(6_000_000)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

print(made)
faults()
other = threading.Thread(target=faults)
other.start()
other.join()
"""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def run(what, **environment):
    chosen = ("GLIBC_TUNABLES", "LD_PRELOAD")
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in chosen and not name.startswith("MALLOC_")
    }
    command = [sys.executable, "-c", PROGRAM, what]
    printed = subprocess.run(
        command, cwd=ROOT, env=inherited | environment, capture_output=True, text=True, check=True
    ).stdout.split()
    return printed[0], [int(number) for number in printed[1:]]


@glibc
def test_freed_memory_is_used_again_by_every_thread():
    made, kept = run("keep")
    _, usual = run("leave")
    assert made == "True"
    # 48 MB are 11,700 pages, or 23 where the system gives large ones.
    assert min(usual) > 200
    assert max(kept) < min(usual) / 10


@glibc
@pytest.mark.parametrize(
    "environment", [{"MALLOC_ARENA_MAX": "4"}, {"GLIBC_TUNABLES": "glibc.malloc.check=0"}]
)
def test_what_the_user_chose_stays(environment):
    made, _ = run("keep", **environment)
    assert made == "False"


def test_another_c_library_is_left_alone(monkeypatch):
    from jaxdrive import allocator

    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    assert not allocator.keep_freed_memory()
