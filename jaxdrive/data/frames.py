"""Frame: the one record that every reader of recordings yields; and how its picture is fitted.

What no frame can be made of is yielded as a BadRow in its place. Readers stand in `sources/`;
writing frames to disk is left to `shards.py`, what becomes of bad rows to `bad_rows.py`. Driving
fits its pictures with the same function, so that the network meets the pixels that it was trained
on.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import cv2
import numpy as np
import pyarrow as pa

from jaxdrive.errors import UserError

# The camera whose pictures the network gets at the wheel.
DRIVING_CAMERA = "center"


@dataclasses.dataclass(frozen=True)
class Frame:
    """One moment of a recording.

    Attributes:
      image: uint8 [H, W, 3], RGB.
      labels: By name, as recorded: steering [-1, 1] (negative is left), throttle [0, 1], brake
        [0, 1], speed in the recording's own unit.
      time: Seconds since the session's start.
      camera: Which camera saw it: "center" (where there is one only, too), "left" or "right".
      origin: File and row, or simulator and seed, for messages.
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
class Session:
    """One recording from its start to its end.

    Attributes:
      name: Unique within its source.
      split: "train", "validation" or "test" where the source decides it (a simulator records each
        for its purpose); None leaves it to `split.py`.
      pieces: Its parts in order, which several processes read at once. Each yields frames, and a
        bad row in place of every frame that there should be. Picklable.
      place: Where it is kept, for messages; "" where its name says all.
      start: When it began, in seconds on a clock that all sessions of its source share; None where
        nothing tells.
      content: What decides its frames beside the fit and the split, as text: a session that an
        earlier dataset holds is not read again. "" = unknown.
      rows: What was recorded, row by row as it was found, for people; None where there are no rows.
        Its column "origin" is what the origins of a row's frames and bad rows begin with, before
        ", CAMERA".
    """

    name: str
    split: str | None
    pieces: Sequence[Callable[[], Iterator[Frame | BadRow]]]
    place: str = ""
    start: float | None = None
    content: str = ""
    rows: pa.Table | None = None

    def piece(self, index: int) -> "Session":
        """The session with one of its pieces, for the process that reads it."""
        return dataclasses.replace(self, pieces=[self.pieces[index]], rows=None)

    def read(self) -> Iterator[Frame | BadRow]:
        """Everything that its pieces yield, in order."""
        return itertools.chain.from_iterable(piece() for piece in self.pieces)


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
