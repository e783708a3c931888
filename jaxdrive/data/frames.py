"""Frame: the one record that every reader of recordings yields; and how its picture is fitted.

What no frame can be made of is yielded as a BadRow in its place. Readers stand in `sources/`;
writing frames to disk is left to `shards.py`, what becomes of bad rows to `bad_rows.py`. Driving
fits its pictures with the same function, so that the network meets the pixels that it was trained
on.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from PIL import Image

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
      read: Yields frames, and a bad row in place of every frame that there should be. Picklable:
        sessions are read by worker processes.
      place: Where it is kept, for messages; "" where its name says all.
    """

    name: str
    split: str | None
    read: Callable[[], Iterator[Frame | BadRow]]
    place: str = ""


@dataclasses.dataclass(frozen=True)
class Fit:
    """How a recorded picture becomes the network's: rows cut off, then resized.

    Attributes:
      crop_top: Rows removed above (sky, bonnet).
      crop_bottom: Rows removed below (dashboard).
      height: Rows after resizing.
      width: Columns after resizing.
    """

    crop_top: int
    crop_bottom: int
    height: int
    width: int


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
    if kept.shape[:2] == (fit.height, fit.width):
        return np.ascontiguousarray(kept)
    resized = Image.fromarray(kept).resize((fit.width, fit.height), Image.Resampling.BOX)
    return np.asarray(resized)
