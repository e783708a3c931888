"""The texts that the Udacity simulator sends and understands: reading and writing them.

What a car is told is left to `udacity_driver.py`.
"""

import base64
import binascii
import dataclasses
import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

# Larger ones would take seconds and memory; the simulator's have 51,200.
_MOST_PIXELS = 4_000_000


class BadTelemetryError(Exception):
    """Nothing can be told to a car that says this; the text is the same for all with this fault."""


@dataclasses.dataclass(frozen=True)
class Telemetry:
    """One moment of a car.

    Attributes:
      picture: The file of the camera's picture, as it came.
      image: The picture, uint8 [H, W, 3], RGB.
      speed: mph.
      decimal: "." or ",": the simulator writes and reads numbers as its machine's language does.
    """

    picture: bytes
    image: np.ndarray
    speed: float
    decimal: str


def read_telemetry(data: Any) -> Telemetry:
    """Reads the data of a telemetry event: texts by name, of which image and speed are used.

    Raises:
      BadTelemetryError: It is not what the simulator sends.
    """
    if not isinstance(data, Mapping):
        raise BadTelemetryError("telemetry that is not texts by name")
    missing = [name for name in ("image", "speed") if not isinstance(data.get(name), str)]
    if missing:
        raise BadTelemetryError(f"telemetry without a text for {' and '.join(missing)}")
    speed, decimal = data["speed"].strip(), "."
    if "," in speed and "." not in speed:
        speed, decimal = speed.replace(",", "."), ","
    try:
        miles_per_hour = float(speed)
    except ValueError:
        raise BadTelemetryError("a speed that is no number") from None
    if not math.isfinite(miles_per_hour):
        raise BadTelemetryError("a speed that is no number")
    picture = _file_of(data["image"])
    return Telemetry(picture, _decoded(picture), miles_per_hour, decimal)


def write_number(value: float, decimal: str) -> str:
    """All digits of a number that is told, so that it is read as the same one."""
    return repr(value).replace(".", decimal)


def _file_of(text: str) -> bytes:
    try:
        picture = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadTelemetryError("an image that is not base64") from None
    if not picture:
        raise BadTelemetryError("an empty image")
    return picture


def _decoded(picture: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(picture), formats=("JPEG", "PNG")) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise BadTelemetryError(f"an image of more than {_MOST_PIXELS:,} pixels")
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise BadTelemetryError("an image that is damaged or neither JPEG nor PNG") from None
