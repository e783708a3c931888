"""The batches of the usual Keras recipe for behavioural cloning: cameras, shifts, brightness, caps.

The recipe is that of popular repositories and courses for the Udacity simulator: of 60 % of the
images the camera is drawn, they are mirrored half of the time, shifted with a correction of the
label for every pixel, and made brighter or darker; the others are the middle camera's, as recorded.
Before training the course by Udemy caps how many frames a bin of steering has. Images are YUV.
All is done in NumPy and OpenCV, in a thread beside the training, and costs it next to nothing.
"""

import collections
import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import cv2
import numpy as np

from benchmarks.real_folds import Fold
from jaxdrive.data.frames import DRIVING_CAMERA
from jaxdrive.evaluation.side_cameras import SIDES, pairs

BATCH = 40
# Added to the labels of the side cameras.
CORRECTIONS = {"left": 0.25, "right": -0.25}
# Share of the images that are changed.
_CHANGED = 0.6
# Brightness is multiplied by 1 - _BRIGHTNESS to 1 + _BRIGHTNESS.
_BRIGHTNESS = 0.2
# Bins of steering from -1 to 1 that are capped, and the largest share of all rows in one: the
# course keeps 400 of 4,053.
_BINS, _SHARE = 25, 0.1
_BLACK = (0, 128, 128)
# Batches that are made ahead.
_AHEAD = 8
Batch = tuple[np.ndarray, np.ndarray]
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Shift:
    """How far images are shifted.

    Attributes:
      sideways: Columns to either side, at most.
      along: Rows up or down, at most.
      label_per_pixel: Added to the label for every column to the right.
    """

    sideways: float
    along: float
    label_per_pixel: float


# +-50 of 320 columns at 0.002 a column, in images of 200 columns.
SIDE_CAMERAS = Shift(sideways=31, along=5, label_per_pixel=0.0032)
# Without side cameras nothing says what a shift is worth.
ONE_CAMERA = Shift(sideways=8, along=3, label_per_pixel=0.0)


@dataclasses.dataclass(frozen=True)
class Rows:
    """Training rows, each of which one or three cameras saw.

    Attributes:
      images: YUV, uint8 [n, cameras, H, W, 3]; the first camera is the one that drives.
      labels: As recorded, float32 [n].
      corrections: Of each camera, float32 [cameras].
    """

    images: np.ndarray
    labels: np.ndarray
    corrections: np.ndarray

    def only(self, rows: np.ndarray) -> "Rows":
        """Some of the rows, by number."""
        return Rows(self.images[rows], self.labels[rows], self.corrections)


def yuv(images: np.ndarray) -> np.ndarray:
    """RGB images as YUV: uint8 [n, H, W, 3]."""
    return np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2YUV) for image in images])


def training_rows(fold: Fold) -> Rows:
    """All training rows; where there are side cameras, those that all three saw."""
    dataset = fold.dataset
    middle = dataset.driving_ids("train")
    sides = pairs(dataset, "train")
    ids, names = middle[:, None], [DRIVING_CAMERA]
    if len(sides):
        moments = {_moment(fold, side): both for side, both in zip(sides[:, 0], sides, strict=True)}
        seen = [row for row in middle if _moment(fold, row) in moments]
        ids = np.array([[row, *moments[_moment(fold, row)]] for row in seen])
        names += SIDES
    images = yuv(fold.images(ids.ravel()))
    return Rows(
        images.reshape(*ids.shape, *images.shape[1:]),
        dataset.labels[fold.head.label][ids[:, 0]].astype(np.float32),
        np.array([CORRECTIONS.get(name, 0.0) for name in names], np.float32),
    )


def _moment(fold: Fold, record: int) -> tuple[str, float]:
    return str(fold.dataset.sessions[record]), float(fold.dataset.times[record])


def capped(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Rows of which no bin of steering has more than a tenth of all rows.

    Args:
      labels: Steering, [n].
      generator: Draws which rows of a bin are kept.

    Returns:
      Numbers of rows, ascending, int64 [m].
    """
    most = max(1, round(_SHARE * len(labels)))
    index = np.digitize(labels, np.linspace(-1, 1, _BINS + 1)[1:-1])
    order = generator.permutation(len(labels))
    kept = [order[index[order] == number][:most] for number in range(_BINS)]
    return np.sort(np.concatenate(kept))


def batches(rows: Rows, shift: Shift, generator: np.random.Generator) -> Iterator[Batch]:
    """Endless (images uint8 [BATCH, H, W, 3], labels float32 [BATCH])."""
    height, width = rows.images.shape[2:4]
    while True:
        drawn = generator.integers(len(rows.labels), size=BATCH)
        changed = generator.random(BATCH) < _CHANGED
        cameras = np.where(changed, generator.integers(len(rows.corrections), size=BATCH), 0)
        mirrored = changed & (generator.random(BATCH) < 0.5)
        sideways = generator.uniform(-shift.sideways, shift.sideways, BATCH) * changed
        along = generator.uniform(-shift.along, shift.along, BATCH) * changed
        brightness = 1 + generator.uniform(-_BRIGHTNESS, _BRIGHTNESS, BATCH) * changed
        labels = (rows.labels[drawn] + rows.corrections[cameras]) * np.where(mirrored, -1, 1)
        labels = labels + sideways * shift.label_per_pixel
        images = rows.images[drawn, cameras]
        for k in np.flatnonzero(changed):
            image = np.ascontiguousarray(images[k, :, ::-1]) if mirrored[k] else images[k]
            move = np.array([[1, 0, sideways[k]], [0, 1, along[k]]], np.float32)
            moved = cv2.warpAffine(image, move, (width, height), borderValue=_BLACK)
            images[k] = cv2.LUT(moved, _scaled(brightness[k]))
        yield images, labels.astype(np.float32)


def _scaled(factor: float) -> np.ndarray:
    """What becomes of the values of Y, U and V where RGB is multiplied: uint8 [1, 256, 3]."""
    values = np.arange(256, dtype=np.float32)[:, None]
    middle = np.array(_BLACK, np.float32)
    return np.clip(np.rint((values - middle) * factor + middle), 0, 255).astype(np.uint8)[None]


def ahead(source: Iterator[T]) -> Iterator[T]:
    """The items of an endless iterator, made in a thread before they are asked for."""
    with ThreadPoolExecutor(1) as pool:
        coming = collections.deque(pool.submit(next, source) for _ in range(_AHEAD))
        while True:
            coming.append(pool.submit(next, source))
            yield coming.popleft().result()
