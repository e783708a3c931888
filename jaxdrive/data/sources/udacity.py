"""Recordings of the Udacity car simulator: `driving_log.csv` and the pictures of three cameras.

Every folder below `config.data.path` that holds a log is a session. Logs of all origins are read:
with or without a row of names, with spaces, with paths of any system (a picture is found by its
name in `IMG` beside the log). The time of a row stands in its pictures' names. Labels are yielded
as recorded: what a side camera changes in them is said in `heads.py`.

Simulator: https://github.com/udacity/self-driving-car-sim.
"""

import csv
import dataclasses
import datetime
import functools
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxdrive.data import bad_rows
from jaxdrive.data.frames import BadRow, Frame, Session
from jaxdrive.errors import UserError

# Raise when the reader changes what it yields: older datasets are then not taken for new ones.
READER_VERSION = 1

LOG = "driving_log.csv"
IMAGES = "IMG"
CAMERAS = ("center", "left", "right")
# The speed is in miles an hour.
LABELS = ("steering", "throttle", "brake", "speed")

_COLUMNS = (*CAMERAS, *LABELS)
# center_2019_02_17_04_16_55_105.jpg: the local time, to the millisecond.
_TIME = re.compile(r"_(\d{4}_\d\d_\d\d_\d\d_\d\d_\d\d_\d{3})\.\w+$")


@dataclasses.dataclass(frozen=True)
class _Row:
    """A row of a log: its line in the file and its texts by column, those that are there."""

    number: int
    texts: Mapping[str, str]


class _BadError(Exception):
    """Why no frame can be made: `BadRow.reason` and `BadRow.detail`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of `config.data` decides the frames: part of the dataset's fingerprint.

    Recordings count by what they hold, not by where they are: the logs' bytes, and names and sizes
    of the pictures, so that a mended recording is read anew and a moved one is not.
    """
    root = Path(config["path"])
    recordings = []
    for folder in _folders(config):
        try:
            with (folder / LOG).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            _refuse(error)
        recordings.append(
            {
                "session": folder.relative_to(root).as_posix(),
                "log_sha256": digest,
                "images_sha256": _images_hash(folder / IMAGES),
            }
        )
    return {
        "reader_version": READER_VERSION,
        "recordings": recordings,
        "split": dict(config["split"]),
        "on_bad": config["on_bad"],
    }


def sessions(config: Mapping[str, Any]) -> list[Session]:
    """One session a folder with a log, named by its path below `config.data.path`.

    Raises:
      UserError: There is no recording, or a log cannot be read.
    """
    root = Path(config["path"])
    folders = _folders(config)
    size = _first_size(folders)
    return [
        Session(
            name=folder.relative_to(root).as_posix(),
            split=None,
            read=functools.partial(_read, root, folder, size),
            place=str(folder),
        )
        for folder in folders
    ]


def remedy(split: str) -> str:
    """What to do where a dataset of this source has no frames of `split`."""
    if split == "train":
        return "lower config.data.split.validation and test, or add recordings"
    return (
        f"raise config.data.split.{split}, lower config.data.split.block_seconds (0 = whole"
        " sessions) or gap_seconds, or add recordings"
    )


def _folders(config: Mapping[str, Any]) -> list[Path]:
    path = config["path"]
    if not path:
        raise UserError(
            "config.data.source='udacity' needs a recording: name the folder that holds"
            f" {LOG} and {IMAGES}, or folders with them, with --config.data.path=DIR"
        )
    if not os.path.isdir(path):
        state = "it is a file" if os.path.exists(path) else "there is no such folder"
        raise UserError(
            f"no recording in {path}: {state}. Name one with --config.data.path=DIR, or a dataset"
            " that is prepared with --config.data.prepared=DIR"
        )
    found, seen = [], set()
    for folder, below, files in os.walk(path, onerror=_refuse, followlinks=True):
        real = os.path.realpath(folder)
        # Pictures are many, and no place for recordings.
        below[:] = sorted(name for name in below if name != IMAGES)
        if real in seen:
            # A link back: frames that came twice could come in two splits.
            below.clear()
            continue
        seen.add(real)
        if LOG in files:
            found.append(Path(folder))
    if not found:
        raise UserError(
            f"no recording in {path}: neither it nor a folder below it holds a {LOG}. Name the"
            " folder that the simulator recorded to with --config.data.path=DIR"
        )
    return found


def _refuse(error: OSError) -> NoReturn:
    raise UserError(
        f"cannot read {error.filename}: {error.strerror}. Mend it, or name another recording with"
        " --config.data.path=DIR"
    ) from error


def _images_hash(folder: Path) -> str:
    """A hash of the names and sizes of the pictures, and of whether they may be read."""
    lines = []
    try:
        if folder.is_dir():
            with os.scandir(folder) as entries:
                lines = sorted(
                    f"{entry.name} {entry.stat().st_size} {os.access(entry.path, os.R_OK)}"
                    for entry in entries
                    if entry.is_file()
                )
    except OSError as error:
        _refuse(error)
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def _rows(log: Path) -> list[_Row]:
    """The rows of a log in its order; a row of column names at its top says what stands where."""
    try:
        with log.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, [text.strip() for text in texts]) for texts in reader]
    except OSError as error:
        _refuse(error)
    except csv.Error as error:
        raise UserError(
            f"{log}, row {reader.line_num}: this is no table of texts with commas between them"
            f" ({error}). Mend it, or remove it from the recordings"
        ) from error
    # An empty line is no row.
    lines = [(number, texts) for number, texts in lines if len(texts) > 1 or any(texts)]
    columns: Sequence[str] = _COLUMNS
    if lines and "steering" in map(str.lower, lines[0][1]):
        columns = [text.lower() for text in lines.pop(0)[1]]
        missing = [name for name in _COLUMNS if name not in columns]
        if missing:
            raise UserError(
                f"{log} has no column {missing[0]!r}: its first row names {', '.join(columns)}."
                f" Name its columns {', '.join(_COLUMNS)}"
            )
    return [_Row(number, dict(zip(columns, texts, strict=False))) for number, texts in lines]


def _first_size(folders: Sequence[Path]) -> tuple[int, int] | None:
    """(width, height) of the recording's first usable picture, which all others have to have."""
    for folder in folders:
        for row in _rows(folder / LOG):
            for camera in CAMERAS:
                try:
                    return _decoded(folder, row.texts.get(camera, "")).size
                except _BadError:
                    continue
    return None


def _read(root: Path, folder: Path, size: tuple[int, int] | None) -> Iterator[Frame | BadRow]:
    rows = _rows(folder / LOG)
    moments = [_moment(row) for row in rows]
    start = min((moment for moment in moments if moment is not None), default=None)
    log = (folder / LOG).relative_to(root).as_posix()
    for row, moment in zip(rows, moments, strict=True):
        for camera in CAMERAS:
            origin = f"{log}, row {row.number}, {camera}"
            try:
                labels = _labels(row)
                if moment is None or start is None:
                    raise _BadError(
                        "no time in the image's name",
                        f"{_file_name(row.texts['center'])!r} is not like"
                        " center_2019_02_17_04_16_55_105.jpg",
                    )
                frame = Frame(
                    image=_image(folder, row.texts[camera], size),
                    labels=labels,
                    time=(moment - start).total_seconds(),
                    camera=camera,
                    origin=origin,
                )
            except _BadError as error:
                yield BadRow(origin, error.reason, error.detail)
            else:
                yield frame


def _labels(row: _Row) -> dict[str, float]:
    if len(row.texts) < len(_COLUMNS):
        raise _BadError("too few columns", f"{len(row.texts)} instead of {len(_COLUMNS)}")
    labels = {}
    for name in LABELS:
        try:
            labels[name] = float(row.texts[name])
        except ValueError:
            raise _BadError(bad_rows.NO_NUMBER, f"{name} is {row.texts[name]!r}") from None
    return labels


def _moment(row: _Row) -> datetime.datetime | None:
    """When the row's pictures were taken, by the first of their names that says it."""
    for camera in CAMERAS:
        match = _TIME.search(row.texts.get(camera, ""))
        if match:
            try:
                # %f takes one to six digits: 105 is 0.105 s.
                return datetime.datetime.strptime(match[1], "%Y_%m_%d_%H_%M_%S_%f")
            except ValueError:
                continue
    return None


def _file_name(path: str) -> str:
    return re.split(r"[\\/]", path)[-1]


def _image(folder: Path, path: str, size: tuple[int, int] | None) -> np.ndarray:
    picture = _decoded(folder, path)
    if picture.size != size:
        width, height = size or (0, 0)
        raise _BadError(
            "image of another size",
            f"{_file_name(path)} is {picture.width}x{picture.height}, the recording's first is"
            f" {width}x{height}",
        )
    return np.asarray(picture)


def _decoded(folder: Path, path: str) -> Image.Image:
    """The picture of a row, by the name that its path ends with."""
    name = _file_name(path)
    if not name:
        raise _BadError("image missing", "the row names none")
    file = folder / IMAGES / name
    try:
        if not file.stat().st_size:
            raise _BadError("image empty", f"{name} has 0 bytes")
        with Image.open(file) as picture:
            return picture.convert("RGB")
    except FileNotFoundError:
        raise _BadError("image missing", f"there is no {IMAGES}/{name}") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # Pillow's own errors have no number of the system's.
        if isinstance(error, OSError) and error.errno is not None:
            raise _BadError("image cannot be opened", f"{name}: {error.strerror}") from None
        told = "is no picture" if isinstance(error, UnidentifiedImageError) else str(error)
        raise _BadError("image damaged", f"{name}: {told}") from None
