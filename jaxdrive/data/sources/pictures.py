"""Files of pictures -> pixels, or why there are none: what readers of recordings share."""

import errno
import os
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from jaxdrive.data.bad_rows import BadRowError
from jaxdrive.data.frames import BadImage

# A picture that another program holds, or that is still being written, may open a moment later.
_WAITS = (0.05, 0.3)
_LOCKED = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.EAGAIN, errno.ETXTBSY)
_JPEG = b"\xff\xd8"


def read_picture(folder: Path, name: str) -> np.ndarray:
    """The pixels of a picture, uint8 [H, W, 3], RGB.

    A file that is locked, or may not be read, is tried three times within a third of a second.

    Args:
      folder: Where pictures are.
      name: The file's name in it; "" where a row names none.

    Raises:
      BadRowError: There is none, or it cannot be read.
    """
    if not name:
        raise BadRowError("image missing", "the row names none")
    data = _read(folder, name)
    if not data:
        raise BadRowError("image empty", f"{name} has 0 bytes")
    if data.startswith(_JPEG):
        # The same pixels as Pillow's in two thirds of the time.
        try:
            pixels: np.ndarray = simplejpeg.decode_jpeg(data)
            return pixels
        except ValueError:
            # Pillow reads a few kinds more, and says better what is wrong.
            pass
    return _by_pillow(folder, name)


def usable_picture(folder: Path, name: str, size: tuple[int, int] | None) -> np.ndarray | BadImage:
    """The pixels of a picture that has the (height, width) of the others, or why it is not used."""
    try:
        pixels = read_picture(folder, name)
        check_size(name, pixels, size)
    except BadRowError as error:
        return BadImage(error.reason, error.detail)
    return pixels


def first_size(places: Iterable[tuple[Path, str]]) -> tuple[int, int] | None:
    """(height, width) of the first usable picture, which all others of a recording have to have.

    Args:
      places: Folders, and names of files in them.
    """
    for folder, name in places:
        try:
            height, width = read_picture(folder, name).shape[:2]
        except BadRowError:
            continue
        return height, width
    return None


def check_size(name: str, pixels: np.ndarray, size: tuple[int, int] | None) -> None:
    """Raises BadRowError where a picture is not of the (height, width) that the others have."""
    if pixels.shape[:2] != size:
        height, width = size or (0, 0)
        raise BadRowError(
            "image of another size",
            f"{name} is {pixels.shape[1]}x{pixels.shape[0]}, the recording's first is"
            f" {width}x{height}",
        )


def _read(folder: Path, name: str) -> bytes:
    for wait in (*_WAITS, None):
        try:
            # A path of pathlib's takes as long to make as the file to read; a buffer has no use.
            with open(os.path.join(folder, name), "rb", buffering=0) as file:
                return file.read()
        except FileNotFoundError:
            told = f"there is no {folder.name}/{name}"
            raise BadRowError("image missing", told) from None
        except (OSError, ValueError) as error:
            number = getattr(error, "errno", None)
            if wait is None or number not in _LOCKED:
                tried = f", tried {len(_WAITS) + 1} times" if number in _LOCKED else ""
                told = f"{name}: {getattr(error, 'strerror', None) or error}{tried}"
                raise BadRowError("image cannot be opened", told) from None
            time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def _by_pillow(folder: Path, name: str) -> np.ndarray:
    try:
        with Image.open(folder / name) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        told = "is no picture" if isinstance(error, UnidentifiedImageError) else str(error)
        raise BadRowError("image damaged", f"{name}: {told}") from None
