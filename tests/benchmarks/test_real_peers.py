"""The peers on real recordings: Keras's batches, and ridge and Keras through the command line."""

import importlib.util
import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import keras_recipe
from benchmarks.keras_recipe import BATCH, Rows, Shift
from benchmarks.peer_workers.conversation import ROOT
from configs import udacity
from tests import recordings

# Columns of a white stripe as each camera sees it; mirrored, they are six places that differ.
STRIPES, WIDTH = (15, 30, 43), 100
SHIFT = Shift(sideways=4, along=2, label_per_pixel=0.01)


@given(st.lists(st.floats(-1, 1, width=32), min_size=20, max_size=200), st.integers(0, 9))
def test_no_bin_keeps_more_than_a_tenth_and_small_bins_keep_all(labels, seed):
    labels = np.array(labels + [0.0] * 50, np.float32)
    kept = keras_recipe.capped(labels, np.random.default_rng(seed))
    assert len(np.unique(kept)) == len(kept)
    # Bins as wide as a histogram's.
    before, after = (np.histogram(x, 25, (-1, 1))[0] for x in (labels, labels[kept]))
    most = round(len(labels) / 10)
    assert after.max() <= most < before.max()
    assert after.sum() == np.minimum(before, most).sum()


def test_labels_say_what_was_done_to_the_images():
    images = np.zeros((2, 3, 20, WIDTH, 3), np.uint8)
    for camera, column in enumerate(STRIPES):
        images[:, camera, :, column] = 150
    images[..., 1:] = (100, 178)
    rows = Rows(images, np.float32([0.5, -0.125]), np.float32([0, 0.25, -0.25]))
    source = keras_recipe.batches(rows, SHIFT, np.random.default_rng(0))
    seen = set()
    for images, labels in itertools.islice(source, 10):
        assert (images.shape, images.dtype) == ((BATCH, 20, WIDTH, 3), np.uint8)
        for image, label in zip(images, labels, strict=True):
            seen.add(_done(rows, image[10].astype(float), label))
    # Every camera and side, and for the middle one also no change.
    assert {known[:2] for known in seen} == {(c, m) for c in range(3) for m in (False, True)}
    assert any(known[2] > 0 for known in seen)
    assert any(known[2] < 0 for known in seen)


def _done(rows, line, label):
    """(camera, mirrored, direction of the shift) that explain a line of an image and its label."""
    inside = slice(6, -6)
    factor = (line[inside, 2].mean() - 128) / 50
    assert 0.79 < factor < 1.21
    assert (line[inside, 1].mean() - 128) / -28 == pytest.approx(factor, abs=0.03)
    assert line[:, 0].sum() == pytest.approx(150 * factor, abs=8)
    place = np.average(np.arange(WIDTH), weights=line[:, 0])
    for camera, column in enumerate(STRIPES):
        for mirrored in (False, True):
            moved = place - (WIDTH - 1 - column if mirrored else column)
            if abs(moved) < SHIFT.sideways + 0.1:
                plain = (label - moved * SHIFT.label_per_pixel) * (-1 if mirrored else 1)
                errors = abs(rows.labels + rows.corrections[camera] - plain)
                assert errors.min() < 0.002
                return camera, mirrored, int(np.sign(round(moved, 1)))
    raise AssertionError(f"a stripe at {place}")


@pytest.mark.skipif(not importlib.util.find_spec("keras"), reason="needs the extra parity")
def test_ridge_and_keras_write_lines_that_are_compared(tmp_path):
    # Seven blocks of 3 s; the driver steers in every other row.
    log = recordings.record(tmp_path / "recording", 300, size=(60, 100))
    steering = len(recordings.CAMERAS)
    for row in log[::2]:
        row[steering] = "0.0"
    recordings.write_log(tmp_path / "recording", log)
    results = tmp_path / "results.jsonl"
    common = [
        *(f"--recording=udacity={tmp_path / 'recording'}", "--folds=1", f"--output={results}"),
        f"--datasets={tmp_path / 'datasets'}",
    ]
    _command("real_ridge", *common)
    corrections = udacity.get_config().heads.steering.corrections
    lines = [json.loads(text) for text in results.read_text().splitlines()]
    assert [line["name"] for line in lines] == ["straight_on", "ridge_none", "ridge_half"]
    assert lines[0]["windowed"]["steering"][0]["ratio"] == 1
    assert lines[1]["side_cameras"]["steering"]["wanted"] == pytest.approx(corrections.left)
    # Keras gets the seconds of our runs.
    ours = lines[1] | {"name": "shipped", "seconds": 0.1}
    with results.open("a") as file:
        file.write(json.dumps(ours) + "\n")
    for _ in range(2):
        _command("real_keras", *common)
    lines = [json.loads(text) for text in results.read_text().splitlines()]
    usual, capped = lines[4:]
    assert (usual["name"], capped["name"]) == ("keras_usual", "keras_capped")
    assert usual.keys() >= lines[0].keys()
    assert 0 < capped["rows"] < usual["rows"]
    assert 0 < usual["step"] <= usual["steps"]
    assert usual["side_cameras"]["steering"]["wanted"] == pytest.approx(0.25)
    page = _command("real_compare", f"--output={results}")
    assert "| straight on | 1.000 | 1.000 |" in page
    assert "| Keras, usual | " in page
    assert "(one fold: no interval)" in page


def _command(name, *words):
    command = [sys.executable, "-m", f"benchmarks.{name}", *words]
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    run = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout
