"""A run that loads its programs computes what a run that compiles them does, and starts so."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxdrive.compilation_cache import CHECKED, FOLDER
from tests.end_to_end.conftest import ROOT, environment, final_state, numbers

# Little to compile, on the dataset of the other tests.
FIELDS = {
    "num_steps": 8,
    "drive.tracks": 0,
    "model.channels": "(4,)",
    "model.batch_norm.use": False,
    "views": "none",
    "augment.flip.probability": 0.0,
    "augment.shift.sideways": 0,
    "augment.colour_mix.spread": 0.0,
}
# Runs launch.py and writes to a file how many programs were asked for, loaded and compiled.
COUNTING = """
import collections, json, sys
import jax, launch
counts = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: counts.update([name.split("/")[-1]]))
file = sys.argv.pop(1)
code = launch.main()
open(file, "w").write(json.dumps(counts))
sys.exit(code)
"""


def train(launch, workdir: Path, cache):
    """Trains with a cache; returns the finished process, and JAX's counts by name of event."""
    counts = workdir.with_suffix(".json")
    _, script, *words = launch.command("train", workdir=workdir, compilation_cache=cache, **FIELDS)
    assert script == "launch.py"
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, str(counts), *words],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done, json.loads(counts.read_text())


def stored(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in cache.glob("*/*-cache")}


def assert_same_run(a: Path, b: Path) -> None:
    left, right = (jax.tree.leaves(final_state(workdir)) for workdir in (a, b))
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one, other)
    assert numbers(a) == numbers(b)


@pytest.fixture(scope="module")
def compiled(launch, tmp_path_factory) -> Path:
    """A folder with a run, `first`, that found its cache empty; the dataset exists afterwards."""
    folder = tmp_path_factory.mktemp("compiled")
    _, counts = train(launch, folder / "first", folder / "cache")
    assert counts["cache_misses"] == len(stored(folder / "cache"))
    assert any(name.startswith("jit_train_step-") for name in stored(folder / "cache"))
    return folder


def test_a_second_process_loads_all_and_computes_the_same_bits(compiled, launch, tmp_path):
    before = stored(compiled / "cache")
    done, counts = train(launch, tmp_path / "second", compiled / "cache")
    assert done.stderr == ""
    assert counts["cache_hits"] == counts["compile_requests_use_cache"] > 3
    assert stored(compiled / "cache") == before
    assert "cache" not in done.stdout
    assert_same_run(tmp_path / "second", compiled / "first")

    _, counts = train(launch, tmp_path / "without", "off")
    assert not any(name.startswith("cache_") for name in counts)
    assert stored(compiled / "cache") == before
    assert_same_run(tmp_path / "without", compiled / "first")


def test_a_damaged_entry_is_replaced(compiled, launch, tmp_path):
    (entry,) = (compiled / "cache").glob("*/jit_train_step-*-cache")
    entry.write_bytes(b"damaged")
    done, counts = train(launch, tmp_path / "run", compiled / "cache")
    assert done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if "ache" in line]
    assert len(lines) == 1
    assert lines[0].startswith("Compilation cache: the stored program jit_train_step cannot be")
    assert counts["cache_misses"] == 1
    assert len(entry.read_bytes()) > 10_000
    assert_same_run(tmp_path / "run", compiled / "first")


def test_two_runs_share_an_empty_cache(compiled, launch, tmp_path):
    cache = tmp_path / "cache"
    workdirs = [tmp_path / "one", tmp_path / "other"]
    running = [
        launch.start("train", workdir=workdir, compilation_cache=cache, **FIELDS)
        for workdir in workdirs
    ]
    outputs = [process.communicate(timeout=240)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(outputs)
    assert not any("ache" in output for output in outputs)
    assert stored(cache).keys() == stored(compiled / "cache").keys()
    for workdir in workdirs:
        assert_same_run(workdir, compiled / "first")


def test_it_is_beside_the_datasets_and_changes_no_run(launch, trained, tmp_path):
    """`trained` was given no folder; a run may go on with another one without a word."""
    assert list((launch.datasets / FOLDER).glob(f"*/{CHECKED}"))
    before = (trained / "run.json").read_text()
    done = launch("train", workdir=trained, num_steps=24, compilation_cache=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Changed at step" not in done.stdout
    assert json.loads((trained / "run.json").read_text()).get("changes") == json.loads(before).get(
        "changes"
    )
