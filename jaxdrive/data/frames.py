"""What readers of recordings yield, and how an image is fitted to the network.

Readers are in `sources/`. A recording with a log (a simulator's CSV, a car's catalog) gives its
`entries`, which are read without its images. Where only the images tell (an expert that drives, a
TFDS dataset), readers yield whole frames. Driving fits its images with the same function, so that
the network meets the pixels that it was trained on.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa

from jaxdrive.errors import UserError

# The camera whose images the network gets when it drives.
DRIVING_CAMERA = "center"
# Prefix of the columns that hold labels.
LABEL = "label/"


class Entry(NamedTuple):
    """What a recording says of one moment beside its image.

    Attributes:
      labels: By name, as recorded: steering [-1, 1] (negative is left), throttle [0, 1], brake
        [0, 1], speed in the recording's own unit.
      time: Seconds since the session's start.
      camera: "center" (also where there is one camera only), "left" or "right".
      origin: File and row, or simulator and seed, for messages.
    """

    labels: Mapping[str, float]
    time: float
    camera: str
    origin: str


@dataclasses.dataclass(frozen=True)
class Frame:
    """One moment of a recording.

    Attributes:
      image: uint8 [H, W, 3], RGB.
      labels: As an entry's, like what follows.
      time: Seconds.
      camera: Which one.
      origin: For messages.
    """

    image: np.ndarray
    labels: Mapping[str, float]
    time: float
    camera: str
    origin: str


@dataclasses.dataclass(frozen=True)
class BadRow:
    """A place of a recording of which no frame can be made.

    Attributes:
      origin: As a frame's.
      reason: What is wrong, in words that are the same for every row with this fault.
      detail: What was found there: a file, a value.
    """

    origin: str
    reason: str
    detail: str


@dataclasses.dataclass(frozen=True)
class BadImage:
    """An image that cannot be used; `reason` and `detail` are those of its `BadRow`."""

    reason: str
    detail: str


Reader = Callable[[], Iterator[Frame | BadRow | np.ndarray | BadImage]]


@dataclasses.dataclass(frozen=True)
class Session:
    """One recording from its start to its end.

    Attributes:
      name: Unique within its source.
      split: "train", "validation" or "test" where the source decides it (a simulator records each
        for its purpose); None leaves it to `split.py`.
      pieces: Its parts in order, which several processes read at once. Picklable. With `entries`, a
        piece yields the images (uint8 [H, W, 3]) of its share of the good entries, in order, and a
        BadImage for each that cannot be used; without, frames and bad rows.
      images: What decides its images and their order, as text: their names and sizes, the reader's
        version. Sessions of equal `images` share stored images.
      entries: A row for every frame that there should be, see `entries_table`; None where only
        reading the images tells.
      place: Where it is kept, for messages; "" where its name says all.
      start: When it began, in seconds on a clock that all sessions of its source share; None where
        nothing tells.
      rows: The recording's own rows, as found, for people; None where there are no rows. Its
        column "origin" is what the origins of a row's frames begin with, before ", CAMERA".
    """

    name: str
    split: str | None
    pieces: Sequence[Reader]
    images: str
    entries: pa.Table | None = None
    place: str = ""
    start: float | None = None
    rows: pa.Table | None = None

    def piece(self, index: int) -> "Session":
        """The session with one of its pieces, for the process that reads it."""
        return dataclasses.replace(self, pieces=[self.pieces[index]], rows=None, entries=None)

    def read(self) -> Iterator[Frame | BadRow]:
        """All frames in order, and a bad row for each that cannot be made."""
        items = itertools.chain.from_iterable(piece() for piece in self.pieces)
        if self.entries is None:
            return items  # type: ignore[return-value]
        return _with_entries(self.entries, items)


def entries_table(entries: Sequence[Entry | BadRow], labels: Sequence[str]) -> pa.Table:
    """Entries as a table.

    Args:
      entries: In order.
      labels: Names of the labels of every frame.

    Returns:
      Columns "origin", "camera", "time" (float64), "label/NAME" (float64), "reason" and "detail",
      which are null where the entry is good. A bad entry has nothing but origin, reason and detail.
    """
    bad = [entry if isinstance(entry, BadRow) else None for entry in entries]
    good = [entry if isinstance(entry, Entry) else None for entry in entries]
    columns = {
        "origin": pa.array([entry.origin for entry in entries], pa.string()),
        "camera": pa.array([entry and entry.camera for entry in good], pa.string()),
        "time": pa.array([entry and entry.time for entry in good], pa.float64()),
        "reason": pa.array([entry and entry.reason for entry in bad], pa.string()),
        "detail": pa.array([entry and entry.detail for entry in bad], pa.string()),
    }
    for name in labels:
        values = [entry and entry.labels[name] for entry in good]
        columns[f"{LABEL}{name}"] = pa.array(values, pa.float64())
    return pa.table(columns)


def _with_entries(
    entries: pa.Table, images: Iterator[Frame | BadRow | np.ndarray | BadImage]
) -> Iterator[Frame | BadRow]:
    """Frames of entries and the images of those that are good."""
    for row in entries.to_pylist():
        if row["reason"] is not None:
            yield BadRow(row["origin"], row["reason"], row["detail"])
            continue
        image = next(images)
        if isinstance(image, BadImage):
            yield BadRow(row["origin"], image.reason, image.detail)
            continue
        assert isinstance(image, np.ndarray)
        labels = {
            name.removeprefix(LABEL): value for name, value in row.items() if name.startswith(LABEL)
        }
        yield Frame(image, labels, row["time"], row["camera"], row["origin"])


RESIZES = ("stretch", "pad", "crop")


@dataclasses.dataclass(frozen=True)
class Fit:
    """How a recorded picture becomes the network's: rows cut off, then resized.

    Attributes:
      crop_top: Rows removed above (sky, bonnet).
      crop_bottom: Rows removed below (dashboard).
      height: Rows after resizing.
      width: Columns after resizing.
      resize: One of `RESIZES`: "stretch" makes the picture fill the size, "pad" keeps its
        proportions and fills what is left with black, "crop" keeps them and cuts off what is over.
    """

    crop_top: int
    crop_bottom: int
    height: int
    width: int
    resize: str = "stretch"


def fit_image(image: np.ndarray, fit: Fit) -> np.ndarray:
    """Crops and resizes one picture.

    Shrinking averages the area that a pixel covers, which keeps thin lines visible.

    Args:
      image: uint8 [H, W, 3].
      fit: What to cut and the size to reach.

    Returns:
      uint8 [fit.height, fit.width, 3].

    Raises:
      UserError: The crop leaves nothing of the picture.
    """
    rows = image.shape[0] - fit.crop_top - fit.crop_bottom
    if rows < 1:
        raise UserError(
            f"data.crop_top={fit.crop_top} and data.crop_bottom={fit.crop_bottom} leave nothing of"
            f" a picture of {image.shape[0]} rows: lower them"
        )
    kept = image[fit.crop_top : fit.crop_top + rows]
    if fit.resize == "stretch":
        return _resized(kept, fit.height, fit.width)
    scales = fit.height / kept.shape[0], fit.width / kept.shape[1]
    scale = min(scales) if fit.resize == "pad" else max(scales)
    height, width = (max(1, round(scale * size)) for size in kept.shape[:2])
    return _centred(_resized(kept, height, width), fit.height, fit.width)


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    # OpenCV averages areas only where no side grows: so those that shrink come first.
    smaller = min(height, image.shape[0]), min(width, image.shape[1])
    if image.shape[:2] != smaller:
        image = cv2.resize(image, smaller[::-1], interpolation=cv2.INTER_AREA)
    if smaller != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(image)


def _centred(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of a picture, or the picture in the middle of black: uint8 [height, width, 3]."""
    framed = np.zeros((height, width, 3), np.uint8)
    inside, outside = zip(*map(_middle, image.shape[:2], (height, width)), strict=True)
    framed[outside] = image[inside]
    return framed


def _middle(there: int, wanted: int) -> tuple[slice, slice]:
    """Along one side, which pixels are kept of those that are there, and where they go."""
    kept = min(there, wanted)
    first, left = (there - kept) // 2, (wanted - kept) // 2
    return slice(first, first + kept), slice(left, left + kept)
