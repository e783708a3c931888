"""Keeps compiled programs on disk, so that the next start loads them instead of compiling again.

This is JAX's persistent compilation cache with a folder for every kind of machine, a bound on its
size, a check that this machine loads what it stored, and one readable line for whatever goes wrong.
Nothing here ends a run: without the cache it starts later and computes the same numbers.

Entries are executables. Share a folder only with people whose programs you would run.
"""

import contextlib
import hashlib
import os
import platform
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import jax
import jaxlib
import numpy as np
from jax.experimental import multihost_utils
from jax.experimental.compilation_cache import compilation_cache

from jaxdrive.logs import logger

# Below the folder of the datasets.
FOLDER = "compiled"
# In the folder of a machine: empty where stored programs load, else what went wrong.
CHECKED = "checked.txt"
# Of one machine's folder. A run of PilotNet stores 0.8 MB, so this is some 300 networks.
MAX_BYTES = 256 * 2**20
# Folders of machines and versions that are kept, by their last use.
MAX_FOLDERS = 8

_CPU_INFO = Path("/proc/cpuinfo")
# Its lines that decide which instructions XLA uses, on x86 and on ARM.
_CPU_FIELDS = (
    "vendor_id",
    "cpu family",
    "model",
    "model name",
    "flags",
    "CPU implementer",
    "CPU architecture",
    "CPU variant",
    "CPU part",
    "Features",
)
# XLA divides loops among so many threads when it compiles; these overrule the number of cores.
_THREAD_VARIABLES = ("PJRT_NPROC", "NPROC")
_HIT = "/jax/compilation_cache/cache_hits"
# JAX reports what it cannot read or write as a Python warning.
_JAX_WARNING = re.compile(
    r"Error (reading|writing) persistent compilation cache entry for '([^']+)': (.*)", re.DOTALL
)
# What XLA says of a program with memory in blocks, see training/compile_options.py.
_UNSTORABLE = "Multiple temp buffer allocations"


def set_up(choice: str, *, datasets: str) -> None:
    """Switches the cache on or off for this process. Call it before anything is compiled.

    In a run of several processes all of them call it. Only the first one writes entries, so the
    cache is on where all see its folder, and off otherwise: on GPUs, processes that compile the
    same program measure its kernels together, and one that loads it would be missing. (On a CPU
    JAX's keys differ from process to process, and only the first one loads.)

    Args:
      choice: "auto" for a folder in `datasets`, unless JAX's own variables name one
        (JAX_COMPILATION_CACHE_DIR) or switch the cache off; "off"; or a local folder.
      datasets: The folder of the datasets.
    """
    settings: Any = jax.config
    jax_decides = settings.jax_compilation_cache_dir or not settings.jax_enable_compilation_cache
    if choice == "auto" and jax_decides:
        return
    _switch_off()
    if choice == "off":
        return
    folder = (Path(datasets) / FOLDER if choice == "auto" else Path(choice)) / machine_name()
    problem = _problem(folder) if jax.process_index() == 0 else ""
    if _everywhere(not problem):
        if _everywhere((folder / CHECKED).exists()):
            _switch_on(folder)
            _report_errors(folder)
            return
        problem = f"not every process sees {folder}, or their machines differ"
    if jax.process_index() == 0:
        logger.warning(
            "The compilation cache is off, every start compiles again: %s. Name another folder with"
            " --config.compilation_cache=DIR, or hide this message with"
            " --config.compilation_cache=off",
            problem,
        )


def machine_name() -> str:
    """Names what decides whether a stored program can be used, beside what JAX's own key covers.

    JAX's key covers the program, the backend, its options, XLA_FLAGS and jaxlib's version. It does
    not cover the instructions of the CPU, nor the number of threads that XLA divides loops among.

    Returns:
      Such as "amd-epyc-2-cores-1f3a9c04-jax-0.10.2-jaxlib-0.10.2"; the digits are a hash of the
      CPU's features.
    """
    cpu = _cpu()
    cores = _cores()
    threads = [f"{name}={os.environ.get(name, '')}" for name in _THREAD_VARIABLES]
    digest = hashlib.sha256("\n".join([*cpu, *threads]).encode()).hexdigest()[:8]
    models = [line.partition(":")[2] for line in cpu if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    readable = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")[:40]
    versions = f"jax-{jax.__version__}-jaxlib-{jaxlib.__version__}"
    return f"{readable}-{cores}-cores-{digest}-{versions}"


def _cpu() -> list[str]:
    """What is known of the CPU, one line of text for every feature that decides its code."""
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:
        return [platform.machine(), platform.processor()]
    # The cores of some ARM chips differ: a line of each kind.
    return sorted({line for line in lines if line.partition(":")[0].strip() in _CPU_FIELDS})


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _switch_on(folder: Path) -> None:
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
    # Also the smallest program loads in a fifth of the time that it takes to compile.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    # XLA keeps what it measured of kernels on a GPU in the folder as well. That makes the folder's
    # path a part of every key, so elsewhere a folder that is moved would hold nothing of use.
    measured = "xla_gpu_per_fusion_autotune_cache_dir" if jax.default_backend() == "gpu" else ""
    jax.config.update("jax_persistent_cache_enable_xla_caches", measured)
    compilation_cache.reset_cache()


def _switch_off() -> None:
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()


def _everywhere(value: bool) -> bool:
    """Whether `value` is true in all processes."""
    if jax.process_count() == 1:
        return value
    return bool(np.all(multihost_utils.process_allgather(np.asarray(value))))


def _problem(folder: Path) -> str:
    """Makes and checks the folder of this machine; leaves the cache off.

    Returns:
      Why it cannot be used; "" where it can.
    """
    checked = folder / CHECKED
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Also shows that the folder can be written, which JAX would find out at every program.
        with filelock.FileLock(folder / ".checking"):
            if not checked.exists():
                problem = _check_loading(folder)
                partial = checked.with_suffix(".partial")
                partial.write_text(problem)
                partial.replace(checked)
                _remove_unused_folders(folder.parent)
            checked.touch()
            _remove_incomplete(folder)
            return checked.read_text()
    except OSError as error:
        return f"{folder} cannot be written ({error.strerror or error})"


def _check_loading(folder: Path) -> str:
    """Stores a small program and loads it.

    XLA rejects on some CPUs what it compiled on the same CPU, since it takes preferences of the
    compiler for features (jax-ml/jax#38445, openxla/xla#44565), and prints a line for each program.

    Returns:
      What went wrong in loading; "" where all went well.

    Raises:
      OSError: The program could not be stored.
    """
    # The backend prints what it has to say before the check listens.
    jax.devices()
    _switch_on(folder)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            compile_small_program()
            if not list(folder.glob("jit_small_program-*-cache")):
                reasons = [_JAX_WARNING.match(str(warning.message)) for warning in caught]
                raise OSError(next((found[3] for found in reasons if found), "JAX stored nothing"))
            with _printed() as printed, _events() as events:
                compile_small_program()
    finally:
        _switch_off()
    if _HIT in events and not printed:
        return ""
    said = f', which says "{printed[0]}"' if printed else ""
    return (
        f"JAX {jax.__version__} does not properly load here what it stored here{said} (known for"
        " some CPUs: jax-ml/jax#38445)"
    )


def compile_small_program() -> None:
    """Compiles a program that has machine code of its own, or loads it from the cache.

    It does not run: a program that was compiled for another CPU could end the process.
    """

    # A function of its own for each call: JAX keeps in memory what it compiled of the last one.
    def small_program(x: jax.Array) -> jax.Array:
        return jax.numpy.tanh(x) * jax.numpy.exp(x)

    jax.jit(small_program).lower(jax.ShapeDtypeStruct((64,), np.float32)).compile()


@contextlib.contextmanager
def _printed() -> Iterator[list[str]]:
    """Keeps back what is printed on standard error inside, also by C++; afterwards its start."""
    start: list[str] = []
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield start
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            if text := " ".join(file.read().decode(errors="replace").split()):
                start.append(text[:200])


@contextlib.contextmanager
def _events() -> Iterator[list[str]]:
    """The names of what JAX reports inside."""
    names: list[str] = []

    def note(event: str, **_: Any) -> None:
        names.append(event)

    jax.monitoring.register_event_listener(note)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_listener(note)


def _remove_unused_folders(base: Path) -> None:
    """Removes the folders of other machines and versions that were not used for longest."""
    checked = sorted(base.glob(f"*/{CHECKED}"), key=lambda path: path.stat().st_mtime_ns)
    for path in checked[:-MAX_FOLDERS]:
        shutil.rmtree(path.parent, ignore_errors=True)


def _remove_incomplete(folder: Path) -> None:
    """Removes entries that were not written to the end; JAX would never write them again.

    An entry is one file, then another with the time of its last use. While one lacks its time, JAX
    can also write no new ones.
    """
    names = set(os.listdir(folder))
    for name in names:
        if name.endswith("-cache") and name.removesuffix("-cache") + "-atime" not in names:
            (folder / name).unlink(missing_ok=True)


def _report_errors(folder: Path) -> None:
    """Turns JAX's warnings of this cache into one line each; removes entries that are damaged."""
    show_others = warnings.showwarning
    said: set[str] = set()

    def show(message: Any, *arguments: Any, **named: Any) -> None:
        found = _JAX_WARNING.match(str(message))
        if found is None:
            show_others(message, *arguments, **named)
            return
        action, program, reason = found.groups()
        reason = " ".join(reason.split())[:200]
        with contextlib.suppress(OSError):
            _remove_incomplete(folder)
            # JAX overwrites no entry.
            for path in folder.glob(f"{program}-*-cache") if action == "reading" else ():
                path.unlink(missing_ok=True)
        if action == "reading":
            logger.warning(
                "Compilation cache: the stored program %s cannot be read (%s). It was removed from"
                " %s and is compiled again",
                program,
                reason,
                folder,
            )
        elif _UNSTORABLE in reason:
            logger.info(
                "Compilation cache: every start compiles %s, since its memory comes in blocks",
                program,
            )
        elif action not in said:
            said.add(action)
            logger.warning(
                "Compilation cache: cannot write to %s (%s). The run continues, the next start"
                " compiles again",
                folder,
                reason,
            )

    # Python shows a warning of the same text once, but every one leaves a file to remove.
    warnings.filterwarnings("always", _JAX_WARNING.pattern.partition(" for")[0])
    warnings.showwarning = show
