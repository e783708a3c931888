"""The native library: what is said where it cannot be used, and that it is off where it should be.

oneDNN is a fake here, and compilers are scripts, but for the tests that need the real ones.
"""

import dataclasses
import functools
import logging
import os
import stat
import threading

import jax
import numpy as np
import pytest

from benchmarks.peer_workers.configured import workload_of
from benchmarks.peer_workers.ours import loader_batch
from configs import default, quickstart, udacity
from jaxdrive import durations
from jaxdrive.models.formulations import Platform
from jaxdrive.native import build, library
from jaxdrive.training import parts

needs_native = pytest.mark.skipif(
    library.load() is None, reason="needs pip install -e '.[native]' and a C++ compiler"
)


@pytest.fixture
def load(monkeypatch, tmp_path, caplog):
    """Loads with a fake oneDNN and an empty cache: what it returns, and the messages."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    onednn = build.OneDnn("1.2.3", tmp_path / "libdnnl.so.3", tmp_path / "include")
    onednn.library.touch()
    monkeypatch.setattr(library, "find_onednn", lambda: onednn)
    fresh = functools.cache(library.load.__wrapped__)

    def loaded():
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="jaxdrive"):
            assert fresh() == fresh()
        return fresh(), [record.getMessage() for record in caplog.records]

    return loaded


def write_compiler(folder, script):
    """A compiler c++ in a folder; `$9` is the file that it has to write."""
    folder.mkdir(exist_ok=True)
    path = folder / "c++"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_without_the_extra_nothing_is_said(load, monkeypatch):
    monkeypatch.setattr(library, "find_onednn", lambda: None)
    assert load() == (None, [])


def test_packages_that_are_not_there_are_no_onednn(monkeypatch):
    monkeypatch.setattr(build, "HEADERS_PACKAGE", "a-package-that-nobody-has")
    assert build.find_onednn() is None


def test_without_a_compiler_one_line_says_what_to_install(load, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    version, (_, message) = load()
    assert version is None
    assert "no C++ compiler was found" in message
    assert "install one, such as g++" in message
    assert "config.native=off" in message


def test_a_compiler_that_fails_is_quoted_in_one_line(load, monkeypatch, tmp_path):
    write_compiler(tmp_path / "bin", "echo 'unknown option\n-std=c++17' >&2; exit 3")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    version, (_, message) = load()
    assert version is None
    assert "exit code 3: unknown option -std=c++17" in message
    assert "\n" not in message
    assert not list((tmp_path / "cache" / "jaxdrive").iterdir())


def test_a_compiler_that_does_not_exist_is_named(load, monkeypatch):
    monkeypatch.setenv("CXX", "/nowhere/c++")
    version, (_, message) = load()
    assert version is None
    assert "/nowhere/c++ does not start" in message


def test_a_cache_that_cannot_be_written_is_named(load, tmp_path):
    (tmp_path / "cache").write_text("a file")
    version, (*_, message) = load()
    assert version is None
    assert "XDG_CACHE_HOME" in message


def test_what_cannot_be_loaded_is_named(load, monkeypatch, tmp_path):
    write_compiler(tmp_path / "bin", 'printf "no library" > "$9"')
    monkeypatch.setenv("PATH", str(tmp_path / "bin") + os.pathsep + os.environ["PATH"])
    version, (_, message) = load()
    assert version is None
    assert "cannot be loaded" in message
    assert "delete it" in message


@needs_native
def test_a_library_that_lacks_a_function_is_named(load, monkeypatch, tmp_path):
    real = build.find_onednn()
    monkeypatch.setattr(library, "find_onednn", lambda: real)
    empty = tmp_path / "empty.cc"
    empty.write_text("")
    write_compiler(tmp_path / "bin", f'exec g++ -shared -o "$9" {empty}')
    monkeypatch.setenv("CXX", str(tmp_path / "bin" / "c++"))
    version, (_, message) = load()
    assert version is None
    assert "jaxdrive_convolution_forward" in message


def test_processes_that_compile_at_once_all_get_a_whole_library(monkeypatch, tmp_path):
    """Each compiler writes half, waits for the others, and writes the other half."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    script = (
        f'printf half > "$9"; touch {tmp_path}/started.$$;'
        f" while [ $(ls {tmp_path}/started.* | wc -l) -lt 3 ]; do sleep 0.01; done;"
        ' printf whole > "$9"'
    )
    monkeypatch.setenv("CXX", str(write_compiler(tmp_path / "bin", script)))
    onednn = build.OneDnn("1.2.3", tmp_path / "libdnnl.so.3", tmp_path / "include")
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(build.compiled(onednn).read_text()))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["whole"] * 3
    assert len(list((tmp_path / "cache" / "jaxdrive").iterdir())) == 1


@pytest.mark.parametrize(
    ("platform", "native", "is_native"),
    [("cpu", "auto", True), ("cpu", "off", False), ("gpu", "auto", False)],
)
def test_the_library_is_loaded_for_a_cpu_alone_and_unless_it_is_off(
    monkeypatch, platform, native, is_native
):
    loaded = []
    monkeypatch.setattr(library, "load", lambda: loaded.append(True) or "oneDNN 1.2.3")
    config = quickstart.get_config()
    config.native = native
    network = parts.make_network(config.to_dict(), (42, 48, 3), platform=platform)
    assert network.platform == Platform(platform, native=is_native)
    assert bool(loaded) == is_native
    told = parts.computation(network.platform)
    assert told["native"] == ("oneDNN 1.2.3" if is_native else None)
    assert told["platform"] == platform


@needs_native
def test_three_updates_of_pilotnet_equal_those_of_jax_alone():
    config = udacity.get_config("pedals")
    config.batch_size, config.passes = 4, "one"
    config.augment = default.get_config().augment
    fields = durations.resolve(config.to_dict(), 100.0)
    workload = dataclasses.replace(workload_of("pilotnet"), rows=4)

    def trained(native):
        network = parts.make_network(fields | {"native": native}, (66, 200, 3))
        assert network.platform.native == (native == "auto")
        step = network.partition.spread_train(parts.make_step(fields, network))
        state = network.partition.put_state(parts.make_init(fields, network)())
        batch = network.partition.put_batch(loader_batch(workload, dict(network.heads)))
        for _ in range(3):
            state, _ = step(state, batch)
        return jax.device_get(state.params)

    pairs = zip(*(jax.tree.leaves(trained(native)) for native in ("auto", "off")), strict=True)
    for got, want in pairs:
        assert np.linalg.norm(got - want) < 1e-4 * np.linalg.norm(want)
