"""What cannot be learned is not said to be learned, from the recording to the report.

The same drive as it was, with the labels of its images shuffled, and with images that show nothing.
Who trains on the last two can know no more than a constant does; the first shows that the same
network, steps and measures do see what there is to see.
"""

import json

import numpy as np

from jaxdrive.evaluation import verdict
from tests import tubs

# 300 s at 4 images a second: the test blocks hold 8 stretches.
INTERVAL_MS = 250
COUNT = 1200
FIELDS = {
    "num_steps": 120,
    "log_every": 60,
    "eval_every": 60,
    "checkpoint_every": 60,
    "batch_size": 32,
    "data.crop_top": 0,
    "data.height": 8,
    "data.width": 24,
    "data.split.block_seconds": 10.0,
    "data.split.gap_seconds": 0.3,
    "data.split.test": 0.4,
    "heads.steering.smooth_seconds": 0.0,
    "model.backbone": "small",
    "model.channels": "(4,8)",
    "model.batch_norm.use": False,
    "model.common": "(32,)",
    "model.head": "(16,)",
    "optim.learning_rate": 3e-3,
    "augment.flip.probability": 0.0,
    "augment.shift.sideways": 0,
    "augment.shift.along": 0,
    "augment.brightness.spread": 0.0,
    "augment.colour_mix.spread": 0.0,
    "views": "none",
    "drive.tracks": 0,
}


def driven(lean: float = 0.0) -> np.ndarray:
    """A winding road, as much to the left as to the right, or more to the right by `lean`."""
    times = np.arange(COUNT) * INTERVAL_MS / 1000
    return lean + 0.35 * np.sin(times / 1.7) + 0.35 * np.sin(times / 2.9 + 1)


def scores_of(launch, folder, angles, shown) -> tuple[dict, dict, str]:
    """Scores over 1 s, scores of single images, and what is said, of a run on a recorded drive."""
    tubs.record_road(folder / "tub", angles, shown=shown, interval_ms=INTERVAL_MS)
    words = ("--config=configs/donkey.py", f"--config.data.path={folder / 'tub'}")
    done = launch("train", *words, workdir=folder / "run", **FIELDS)
    assert done.returncode == 0, done.stdout + done.stderr
    evaluation = json.loads((folder / "run" / "evaluation.json").read_text())
    page = (folder / "run" / "report.html").read_text()
    window = evaluation["windowed"]["steering"][0]
    assert window["stretches"] >= 5
    return window, evaluation["heads"]["steering"], done.stdout + page


def test_a_road_that_images_show_is_learned(launch, tmp_path):
    window, score, told = scores_of(launch, tmp_path, driven(), driven())
    assert window["interval"][1] < 0.3
    assert window["constant_interval"][1] < 0.3
    assert score["natural"]["skill"] > 0.9
    assert f"steering: {verdict.LEARNED}" in told


def test_shuffled_labels_are_not_learned(launch, tmp_path):
    angles = np.random.default_rng(0).permutation(driven())
    window, score, told = scores_of(launch, tmp_path, angles, driven())
    assert window["interval"][1] >= 1
    assert_no_better_than_a_constant(window, score, told)


def test_blank_images_are_not_learned_even_where_a_constant_beats_straight_on(launch, tmp_path):
    """On a road that mostly turns to one side, the ratio beside straight on alone is a trap."""
    window, score, told = scores_of(launch, tmp_path, driven(lean=0.3), None)
    assert window["interval"][1] < 1
    assert window["correlation"] is None
    assert_no_better_than_a_constant(window, score, told)


def assert_no_better_than_a_constant(window, score, told) -> None:
    assert window["constant_interval"][1] >= 1
    assert window["constant_ratio"] > 0.98
    assert score["natural"]["skill"] < 0.02
    assert score["balanced"]["skill"] < 0.02
    assert verdict.LEARNED not in told
