"""Sheets show the pictures they were given, and values where a reader looks for them."""

import collections
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageColor

from jaxdrive.bins import Bins, bin_index
from jaxdrive.data.dataset import Dataset
from jaxdrive.heads import Head
from jaxdrive.training import pictures
from jaxdrive.training.contact_sheet import COLOURS, contact_sheet
from jaxdrive.training.heldout import HeldOut

HEADS = {
    "steering": Head("steering", "steering", 0.5, -1.0, 1.0, Bins((-1.0, -0.5, 0.0, 0.5, 1.0)), ""),
    "throttle": Head("throttle", "throttle", 1.0, 0.0, 1.0, Bins((0.0, 0.5, 1.0), (0.0,)), ""),
}
HEIGHT, WIDTH = 10, 16
ZOOM = 12


def images_of(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8)


def sheet_of(images, values=None, *, columns=3, heads=HEADS) -> np.ndarray:
    captions = [[f"record {number}", "a line"] for number in range(len(images))]
    return contact_sheet(images, captions, values or {}, heads, title=["A title"], columns=columns)


def enlarged(image: np.ndarray) -> np.ndarray:
    return image.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)


def place_of(sheet: np.ndarray, image: np.ndarray) -> tuple[int, int]:
    """Row and column of the only place where the enlarged picture, or its upper part, stands."""
    large = enlarged(image)
    height, width = large.shape[:2]
    corners = np.argwhere((sheet == image[0, 0]).all(axis=-1))
    places = [
        (y, x) for y, x in corners if np.array_equal(sheet[y : y + height, x : x + width], large)
    ]
    assert len(places) == 1
    return places[0]


def in_colour(sheet: np.ndarray, number: int) -> np.ndarray:
    return (sheet == ImageColor.getrgb(COLOURS[number])).all(axis=-1)


def test_every_picture_stands_whole_in_reading_order():
    images = images_of(7)
    places = [place_of(sheet_of(images), image) for image in images]
    assert places == sorted(places)
    rows = collections.Counter(y for y, _ in places)
    assert list(rows.values()) == [3, 3, 1]


def test_wide_pictures_stand_in_fewer_columns():
    images = np.zeros((4, 100, 900, 3), np.uint8)
    assert sheet_of(images, columns=4).shape[1] < 1000


def coloured(head: str, value: float, *, kind: str = "label") -> tuple[np.ndarray, np.ndarray]:
    """Where a sheet of one picture has the colour of one value: on the picture, and beneath it.

    Both bool, with the columns of the picture.
    """
    (image,) = images = images_of(1)
    other = 0.0 if kind == "prediction" else np.nan
    values = {"label": other, "prediction": np.nan} | {kind: value}
    arrays = {name: {head: np.array([number])} for name, number in values.items()}
    sheet = sheet_of(images, arrays, heads={head: HEADS[head]})
    # No needle reaches the upper third.
    y, x = place_of(sheet, image[:3])
    found = in_colour(sheet[y:, x : x + WIDTH * ZOOM], list(values).index(kind))
    return found[: HEIGHT * ZOOM], found[HEIGHT * ZOOM :]


@pytest.mark.parametrize("kind", ["label", "prediction"])
def test_the_needle_leans_to_the_side_and_as_far_as_its_value(kind):
    def lean(value):
        columns = np.nonzero(coloured("steering", value, kind=kind)[0])[1]
        return columns.mean() + 0.5 - WIDTH * ZOOM / 2

    leans = [lean(value) for value in (-0.5, -0.3, -0.1, 0.0, 0.1, 0.3, 0.5)]
    assert leans == sorted(leans)
    np.testing.assert_allclose(leans, np.negative(leans[::-1]), atol=1.5)
    assert leans[-1] - leans[3] > HEIGHT
    # Beyond the head's range it stays at the end.
    assert lean(0.9) == leans[-1]
    assert not coloured("throttle", 1.0, kind=kind)[0].any()


@pytest.mark.parametrize("kind", ["label", "prediction"])
@pytest.mark.parametrize(
    ("head", "value", "first", "last"),
    [
        ("throttle", 1.0, 0.0, 1.0),
        ("throttle", 0.6, 0.0, 0.6),
        ("throttle", 1.7, 0.0, 1.0),
        ("steering", -0.5, 0.0, 0.5),
        ("steering", 0.25, 0.5, 0.75),
    ],
)
def test_a_bar_reaches_from_zero_to_its_value(kind, head, value, first, last):
    _, beneath = coloured(head, value, kind=kind)
    bar = beneath[beneath.sum(axis=1).argmax()]
    columns = np.flatnonzero(bar) / (WIDTH * ZOOM)
    np.testing.assert_allclose([columns[0], columns[-1]], [first, last], atol=0.012)


def test_a_prediction_that_diverged_is_a_number_without_needle_and_bar():
    on_picture, beneath = coloured("steering", float("nan"), kind="prediction")
    assert not on_picture.any()
    assert 0 < beneath.sum(axis=1).max() < 25


def dataset_of(steering: list[float], throttle: list[float]) -> Dataset:
    """Validation frames of one camera with these labels."""
    count = len(steering)
    texts = {name: np.full(count, name) for name in ("splits", "sessions", "origins")}
    labels = {"steering": steering, "throttle": throttle}
    return Dataset(
        path=None,
        manifest={},
        stores=[],
        places=np.arange(count),
        labels={name: np.asarray(values, np.float32) for name, values in labels.items()},
        cameras=np.full(count, "center"),
        times=np.arange(count) / 10,
        **texts,
    )


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 10)), min_size=1, max_size=60),
    st.integers(1, 14),
)
def test_held_out_frames_cover_the_range_of_every_head(tenths, count):
    steering, throttle = ([value / 10 for value in column] for column in zip(*tenths, strict=True))
    dataset = dataset_of(steering, throttle)
    ids = np.arange(len(tenths), dtype=np.int32)
    chosen = pictures.spread_records(dataset, HEADS, ids, count=count)
    together = np.concatenate(list(chosen.values()))
    assert len(set(together)) == len(together) <= count
    bins = {
        "steering": bin_index(HEADS["steering"].bins, np.float32(steering) / np.float32(0.5)),
        "throttle": bin_index(HEADS["throttle"].bins, np.float32(throttle)),
    }
    filled = {name: len(set(index.tolist())) for name, index in bins.items()}
    steps = [bins["steering"][chosen["steering"]], bins["throttle"][chosen["throttle"]]]
    for index in steps:
        assert (np.diff(index) > 0).all()
    # The first head has its places for itself; both ends of its range are among them.
    assert len(steps[0]) == min(filled["steering"], max(-(-count // 2), count - filled["throttle"]))
    if len(steps[0]) > 1:
        assert {steps[0][0], steps[0][-1]} == {bins["steering"].min(), bins["steering"].max()}


def test_the_held_out_sheet_puts_labels_and_predictions_to_the_right_frames(monkeypatch):
    generator = np.random.default_rng(3)
    count = 40
    dataset = dataset_of(generator.uniform(-0.5, 0.5, count), generator.uniform(0, 1, count))
    images = images_of(count)
    reader = types.SimpleNamespace(read=lambda ids: images[ids])
    trainer = types.SimpleNamespace(
        network=types.SimpleNamespace(heads=HEADS),
        examples=types.SimpleNamespace(dataset=dataset, reader=reader),
    )
    records = np.arange(5, count, dtype=np.int32)
    # A network that is wrong by a tenth everywhere.
    predictions = {
        name: (dataset.labels[name][records] + np.float32(0.1)) / np.float32(head.scale)
        for name, head in HEADS.items()
    }
    held_out = HeldOut(line={}, skill=None, records=records, predictions=predictions)
    calls = []
    monkeypatch.setattr(pictures, "contact_sheet", lambda *args, **named: calls.append(args))
    pictures.held_out_sheet(trainer, held_out, 300)
    pictures.held_out_sheet(trainer, held_out, 600)
    shown, captions, values, heads = calls[0]
    assert heads is HEADS
    # Four non-empty bins of steering, two of throttle.
    assert len(shown) == len(captions) == 6
    for row, image in enumerate(shown):
        (record,) = [i for i in records if np.array_equal(images[i], image)]
        assert captions[row][0] == f"sessions, {record / 10:.1f} s"
        for name, head in HEADS.items():
            label = dataset.labels[name][record]
            assert values["label, as recorded"][name][row] == label
            expected = min(label + 0.1, head.high * head.scale)
            np.testing.assert_allclose(values["prediction"][name][row], expected, rtol=1e-6)
    np.testing.assert_array_equal(calls[1][0], shown)
