"""How networks answer to side cameras, for networks whose answers are known."""

import dataclasses
import types

import numpy as np
import pytest

from jaxdrive.bins import Bins
from jaxdrive.evaluation import side_cameras
from jaxdrive.heads import Head

STEERING = Head(
    name="steering",
    label="steering",
    scale=0.5,
    low=-2.0,
    high=2.0,
    bins=Bins(edges=(-2.0, 0.0, 2.0)),
    unit="share of full lock",
    mirror=-1.0,
    corrections={"left": 0.2, "right": -0.1},
)
ROWS = 40


@pytest.fixture
def dataset():
    """Rows of three cameras in mixed order; in every fifth row the right one is missing."""
    generator = np.random.default_rng(0)
    frames = [
        (row, camera)
        for row in range(ROWS)
        for camera in ("center", "left", "right")
        if camera != "right" or row % 5
    ]
    rows, cameras = zip(*[frames[k] for k in generator.permutation(len(frames))], strict=True)
    return types.SimpleNamespace(
        times=np.array(rows) % 20 / 20,
        sessions=np.array(["a" if row < 20 else "b" for row in rows]),
        cameras=np.array(cameras),
        splits=np.array(["test" if row % 2 else "train" for row in rows]),
        labels={"steering": np.sin(np.array(rows, float)) / 2},
    )


def answers(dataset, by_camera):
    """Predictions, in the target's range, of a network that adds to the label by camera."""
    added = np.array([by_camera[camera] for camera in dataset.cameras.tolist()])
    targets = ((dataset.labels["steering"] + added) / STEERING.scale).astype(np.float32)
    return lambda ids: {"steering": targets[ids], "other": np.zeros(len(ids), np.float32)}


@pytest.mark.parametrize(("left", "right", "response"), [(0.2, -0.1, 0.15), (0.1, 0.1, 0.0)])
def test_the_response_is_half_the_difference_of_the_answers(dataset, left, right, response):
    heads = {"steering": STEERING, "other": dataclasses.replace(STEERING, corrections={})}
    predicted = answers(dataset, {"left": left, "right": right, "center": 0.0})
    found = side_cameras.responses(heads, dataset, "test", predicted)
    assert found.keys() == {"steering"}
    assert found["steering"]["rows"] == sum(row % 2 and row % 5 > 0 for row in range(ROWS))
    assert found["steering"]["response"] == pytest.approx(response, abs=1e-6)
    assert found["steering"]["wanted"] == pytest.approx(0.15)
    (line,) = side_cameras.lines(found)
    assert line == (
        f"steering, side cameras: steers back by {found['steering']['response']:.3f}, corrected by"
        " 0.15 (16 rows)"
    )


def test_pairs_are_of_one_moment_of_one_session(dataset):
    for left, right in side_cameras.pairs(dataset, "test"):
        assert (dataset.cameras[left], dataset.cameras[right]) == ("left", "right")
        for name in ("times", "sessions", "splits"):
            assert getattr(dataset, name)[left] == getattr(dataset, name)[right]


def test_without_side_cameras_nothing_is_said(dataset):
    alone = types.SimpleNamespace(
        **vars(dataset) | {"cameras": np.full(len(dataset.times), "center")}
    )
    predicted = answers(alone, {"center": 0.0})
    assert side_cameras.responses({"steering": STEERING}, alone, "test", predicted) == {}
    one_sided = {"steering": dataclasses.replace(STEERING, corrections={"left": 0.2})}
    assert side_cameras.responses(one_sided, dataset, "test", predicted) == {}
