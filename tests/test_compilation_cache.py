"""Compiled programs are kept within bounds, and whatever goes wrong with them is one line."""

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache as jax_cache

from jaxdrive import compilation_cache
from jaxdrive.compilation_cache import CHECKED, FOLDER, machine_name, set_up

ROOT = Path(__file__).parents[1]
SETTINGS = (
    "jax_enable_compilation_cache",
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_enable_xla_caches",
)


@pytest.fixture(autouse=True)
def _jax_as_before(monkeypatch, caplog):
    caplog.set_level(logging.WARNING, logger="jaxdrive")
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    as_in_a_new_process()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    jax_cache.reset_cache()


def as_in_a_new_process() -> None:
    """JAX's own settings, with nothing that the cache has said of itself."""
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", None)


def compile_and_run(factor: float) -> float:
    """Compiles a program of its own for each factor, or loads it."""

    def scaled(x):
        return jnp.tanh(x) * factor

    return float(jax.jit(scaled)(jnp.ones(())))


def entries(datasets: Path) -> list[Path]:
    """What was stored, the program of the check left out."""
    found = datasets.glob(f"{FOLDER}/*/*-cache")
    return sorted(path for path in found if not path.name.startswith("jit_small_program"))


def hits(factor: float) -> int:
    """How many programs JAX loads from the cache while it compiles one."""
    with compilation_cache._events() as events:
        compile_and_run(factor)
    return events.count("/jax/compilation_cache/cache_hits")


def test_what_was_compiled_once_is_loaded(tmp_path, caplog):
    set_up("auto", datasets=str(tmp_path))
    first = compile_and_run(3.0)
    stored = {path.name for path in entries(tmp_path)}
    assert any(name.startswith("jit_scaled-") for name in stored)
    assert hits(3.0) == 1
    assert hits(4.0) == 0
    assert compile_and_run(3.0) == first
    # Entries are good wherever the folder is moved to.
    (tmp_path / FOLDER).rename(tmp_path / "moved")
    as_in_a_new_process()
    set_up(str(tmp_path / "moved"), datasets="unused")
    assert hits(3.0) == 1
    assert not caplog.records


def test_off_stores_nothing_whatever_jax_was_told(tmp_path, monkeypatch):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "of_jax"))
    set_up("off", datasets=str(tmp_path))
    compile_and_run(5.0)
    assert not list(tmp_path.iterdir())


def test_jax_own_settings_come_before_auto_and_a_folder_before_them(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "of_jax"))
    set_up("auto", datasets=str(tmp_path))
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "of_jax")
    set_up(str(tmp_path / "mine"), datasets="unused")
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine" / machine_name())
    jax.config.update("jax_enable_compilation_cache", False)
    jax.config.update("jax_compilation_cache_dir", None)
    set_up("auto", datasets=str(tmp_path))
    assert jax.config.jax_compilation_cache_dir is None


def test_a_folder_stays_within_its_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation_cache, "MAX_BYTES", 10_000)
    set_up("auto", datasets=str(tmp_path))
    for factor in range(6, 14):
        compile_and_run(float(factor))
        stored = list(tmp_path.glob(f"{FOLDER}/*/*-cache"))
        assert sum(path.stat().st_size for path in stored) <= 10_000
    assert len(stored) > 1
    assert hits(13.0) == 1
    assert hits(6.0) == 0


def test_few_machines_and_versions_are_kept(tmp_path):
    base = tmp_path / FOLDER
    for index in range(compilation_cache.MAX_FOLDERS + 1):
        (base / f"machine-{index}").mkdir(parents=True)
        (base / f"machine-{index}" / CHECKED).touch()
        os.utime(base / f"machine-{index}" / CHECKED, (index, index))
    (base / "not ours").mkdir()
    set_up("auto", datasets=str(tmp_path))
    kept = {path.name for path in base.iterdir()}
    assert len(kept) == compilation_cache.MAX_FOLDERS + 1
    assert {"not ours", machine_name(), "machine-2"} <= kept
    # Each use counts, not only the first one.
    os.utime(base / machine_name() / CHECKED, (0, 0))
    as_in_a_new_process()
    set_up("auto", datasets=str(tmp_path))
    assert (base / machine_name() / CHECKED).stat().st_mtime > 1e9


def test_an_entry_of_a_run_that_was_killed_is_written_again(tmp_path, caplog):
    set_up("auto", datasets=str(tmp_path))
    compile_and_run(14.0)
    (stored,) = (path for path in entries(tmp_path) if path.name.startswith("jit_scaled-"))
    whole = stored.read_bytes()
    stored.write_bytes(whole[:100])
    stored.with_name(stored.name.removesuffix("-cache") + "-atime").unlink()
    as_in_a_new_process()
    set_up("auto", datasets=str(tmp_path))
    assert hits(14.0) == 0
    assert len(stored.read_bytes()) > 100
    assert hits(14.0) == 1
    assert not caplog.records


LOADER = b"E0000 cpu_aot_loader.cc:195] Target machine feature +prefer-no-gather is not supported\n"


@pytest.mark.parametrize("printed", [LOADER, b""])
def test_where_stored_programs_do_not_load_it_is_off_and_says_so(
    tmp_path, monkeypatch, caplog, capfd, printed
):
    """The fake does what XLA does on such a CPU: it prints, or compiles again."""
    calls = []
    genuine = compilation_cache.compile_small_program

    def fake():
        calls.append(1)
        if len(calls) == 2:
            os.write(2, printed)
        if len(calls) == 1 or printed:
            genuine()

    monkeypatch.setattr(compilation_cache, "compile_small_program", fake)
    for _ in range(2):
        caplog.clear()
        as_in_a_new_process()
        set_up("auto", datasets=str(tmp_path))
        compile_and_run(15.0)
        assert not entries(tmp_path)
        (message,) = caplog.messages
        assert "The compilation cache is off" in message
        assert "jax-ml/jax#38445" in message
        assert ("+prefer-no-gather is not supported" in message) == bool(printed)
        assert "--config.compilation_cache=off" in message
    # The folder remembers what was found.
    assert len(calls) == 2
    assert capfd.readouterr().err == ""


def test_a_folder_that_cannot_be_written_is_named(tmp_path, caplog):
    (tmp_path / FOLDER).write_text("a file in the way")
    set_up("auto", datasets=str(tmp_path))
    compile_and_run(16.0)
    (message,) = caplog.messages
    assert f"{tmp_path / FOLDER / machine_name()} cannot be written (Not a directory)" in message
    assert "--config.compilation_cache=DIR" in message


def test_a_check_that_could_not_store_is_made_again(tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patched:
        patched.setattr(compilation_cache, "compile_small_program", lambda: None)
        set_up("auto", datasets=str(tmp_path))
    assert "JAX stored nothing" in caplog.text
    caplog.clear()
    as_in_a_new_process()
    set_up("auto", datasets=str(tmp_path))
    assert jax.config.jax_enable_compilation_cache
    assert not caplog.records


def test_a_full_disk_is_said_once_and_the_run_continues(tmp_path):
    """The limit on the size of a file stands for a full disk: writing fails the same way."""
    script = f"""
import resource
import jax
import jax.numpy as jnp
from jaxdrive import compilation_cache, logs

logs.to_console(quiet=False)
compilation_cache.set_up("auto", datasets={str(tmp_path)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
for factor in (2.0, 3.0):
    print(jax.jit(lambda x: jnp.tanh(x) * factor)(0.0))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    message, *results = done.stdout.splitlines()
    assert results == ["0.0", "0.0"]
    assert message.startswith(f"Compilation cache: cannot write to {tmp_path / FOLDER}")
    assert "File too large" in message
    # What was written in part is gone, so that it is written again when there is space.
    assert not entries(tmp_path)


def test_a_program_with_memory_in_blocks_says_that_it_is_not_kept(tmp_path):
    script = f"""
import jax
import jax.numpy as jnp
from jaxdrive import compilation_cache, logs

logs.to_console(quiet=False)
compilation_cache.set_up("auto", datasets={str(tmp_path)!r})

def program(x):
    for _ in range(3):
        x = jnp.sin(x @ x) @ jnp.cos(x)
    return x

options = {{"xla_multiheap_size_constraint_per_heap": 1000}}
print(jax.jit(program, compiler_options=options)(jnp.zeros((64, 64)))[0, 0])
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    message, result = done.stdout.splitlines()
    assert message == (
        "Compilation cache: every start compiles jit_program, since its memory comes in blocks"
    )
    assert result == "0.0"


X86 = """processor\t: 0
model name\t: AMD EPYC 9R14
cpu MHz\t\t: {mhz}
flags\t\t: fpu avx2{more}
"""
ARM = """processor\t: 0
Features\t: fp asimd{more}
CPU part\t: 0xd0c
"""


@pytest.mark.parametrize("text", [X86, ARM])
def test_a_folder_is_of_one_cpu_and_number_of_cores(tmp_path, monkeypatch, text):
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(compilation_cache, "_CPU_INFO", file)

    def name(**values) -> str:
        file.write_text(text.format(**({"mhz": 2600.1, "more": ""} | values)))
        return machine_name()

    first = name()
    assert first == name(mhz=1999.9)
    assert first != name(more=" avx512f")
    assert ("amd-epyc-9r14" in first) == (text is X86)
    assert f"-jax-{jax.__version__}-jaxlib-" in first
    monkeypatch.setenv("PJRT_NPROC", "1")
    assert name() != first
    monkeypatch.delenv("PJRT_NPROC")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4})
    assert "-5-cores-" in name()
    file.unlink()
    assert machine_name() != first
