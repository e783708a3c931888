"""Recordings of the Udacity car simulator: `driving_log.csv` and the pictures of three cameras.

Every folder below `config.data.path` that holds a log is a session; a picture is found by its name
in `IMG` beside the log. The time of a row stands in its pictures' names. A row whose picture an
earlier row of any session has shown already is a duplicate: it would count twice. Labels are
yielded as recorded: what a side camera changes in them is said in `heads.py`.

Simulator: https://github.com/udacity/self-driving-car-sim.
"""

import datetime
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxdrive.data import bad_rows
from jaxdrive.data.frames import BadImage, BadRow, Entry, Session, entries_table
from jaxdrive.data.sources import folders, pictures
from jaxdrive.data.sources.udacity_log import CAMERAS, COLUMNS, LABELS, read_log
from jaxdrive.data.split import split_settings

# Raise when the reader changes what it yields: older datasets are then not taken for new ones.
READER_VERSION = 3

LOG = "driving_log.csv"
IMAGES = "IMG"

# center_2019_02_17_04_16_55_105.jpg: the local time, to the millisecond.
_TIME = re.compile(r"_(\d{4}_\d\d_\d\d_\d\d_\d\d_\d\d_\d{3})\.\w+$")

_EPOCH = datetime.datetime(1970, 1, 1)


def labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the labels of every frame."""
    return LABELS


def find(config: Mapping[str, Any]) -> list[folders.Recording]:
    """The folders with a log at or below `config.data.path`.

    Raises:
      UserError: There is none, or one cannot be read.
    """
    root = Path(config["path"])
    found = []
    for folder in folders.folders_with(config, LOG, images=IMAGES, recorder="the simulator"):
        images = folders.files(folder / IMAGES)
        content = {
            "log_sha256": folders.file_digest(folder / LOG),
            "images_sha256": folders.files_hash(images),
        }
        name = folder.relative_to(root).as_posix()
        found.append(folders.Recording(folder, name, images, content))
    return found


def settings(config: Mapping[str, Any], found: Sequence[folders.Recording]) -> dict[str, Any]:
    """What of `config.data` decides the frames: part of the dataset's fingerprint.

    Recordings count by what they hold, not by where they are: the logs' bytes, and names and sizes
    of the pictures, so that a mended recording is read anew and a moved one is not.
    """
    return {
        "reader_version": READER_VERSION,
        "recordings": [{"session": one.name, **one.content} for one in found],
        "split": split_settings(config),
        "on_bad": config["on_bad"],
    }


def sessions(config: Mapping[str, Any], found: Sequence[folders.Recording]) -> list[Session]:
    """One session a folder with a log, named by its path below `config.data.path`.

    Raises:
      UserError: A log cannot be read.
    """
    seen: dict[Any, str] = {}
    logs = [(one, _rows(one, seen)) for one in found]
    places = (
        (one.folder / IMAGES, _file_name(row[camera] or ""))
        for one, rows in logs
        for row in folders.row_dicts(rows)
        for camera in CAMERAS
    )
    size = pictures.first_size(places)
    return [_session(one, rows, size) for one, rows in logs]


def remedy(split: str) -> str:
    """What to do where a dataset of this source has no frames of `split`."""
    return folders.remedy(split)


def _rows(recording: folders.Recording, seen: dict[Any, str]) -> pa.Table:
    """The rows of a log, with their origins and moments and what was `seen` before."""
    rows, images = read_log(recording.folder / LOG), recording.images
    log = (Path(recording.name) / LOG).as_posix()
    names = {camera: rows[camera].to_pylist() for camera in CAMERAS}
    # A name says the millisecond, so two images of one name and size are one image. Where the file
    # is missing, that is what is wrong with the row.
    centers = [_file_name(name or "") for name in names["center"]]
    keys = [(name, images[name].size) if name in images else None for name in centers]
    origins = [f"{log}, row {number}" for number in rows["row"].to_pylist()]
    moments = [_moment(row) for row in zip(*names.values(), strict=True)]
    return folders.with_origins(rows, origins, keys, seen).append_column(
        "moment", pa.array(moments, pa.int64())
    )


def _session(recording: folders.Recording, rows: pa.Table, size: tuple[int, int] | None) -> Session:
    start = pc.min(rows["moment"]).as_py()
    entries, names = _entries(rows, start)
    return Session(
        name=recording.name,
        split=None,
        pieces=[
            functools.partial(_read, recording.folder / IMAGES, piece, size)
            for piece in folders.pieces(names)
        ],
        images=folders.images_text(recording.images, names, size=size, version=READER_VERSION),
        entries=folders.for_cameras(entries_table(entries, LABELS), CAMERAS),
        place=str(recording.folder),
        start=None if start is None else start / 1000,
        rows=folders.for_people(rows, session=recording.name, hidden=["row", "moment"]),
    )


def _entries(rows: pa.Table, start: int | None) -> tuple[list[Entry | BadRow], list[str]]:
    """An entry for each row, and the names of the images of those that are good."""
    entries: list[Entry | BadRow] = []
    names: list[str] = []
    for row in folders.row_dicts(rows):
        try:
            entry = Entry(_labels(row), _seconds(row, start), "", row["origin"])
        except bad_rows.BadRowError as error:
            entries.append(BadRow(row["origin"], error.reason, error.detail))
            continue
        entries.append(entry)
        names += [_file_name(row[camera]) for camera in CAMERAS]
    return entries, names


def _read(
    images: Path, names: Sequence[str], size: tuple[int, int] | None
) -> Iterator[np.ndarray | BadImage]:
    for name in names:
        yield pictures.usable_picture(images, name, size)


def _seconds(row: Mapping[str, Any], start: int | None) -> float:
    """Since the session's start; raises BadRowError where a row has no time, or came before."""
    if row["moment"] is None or start is None:
        raise bad_rows.BadRowError(
            "no time in the image's name",
            f"{_file_name(row['center'])!r} is not like center_2019_02_17_04_16_55_105.jpg",
        )
    if row[folders.SEEN_IN]:
        detail = f"{_file_name(row['center'])} is that of {row[folders.SEEN_IN]}"
        raise bad_rows.BadRowError(bad_rows.DUPLICATE, detail)
    return (row["moment"] - start) / 1000


def _labels(row: Mapping[str, Any]) -> dict[str, float]:
    missing = [name for name in COLUMNS if row[name] is None]
    if missing:
        count = f"{len(COLUMNS) - len(missing)} instead of {len(COLUMNS)}"
        found = f"{count}: {', '.join(missing)} missing"
        raise bad_rows.BadRowError("too few columns", found)
    values = {}
    for name in LABELS:
        try:
            values[name] = float(row[name])
        except ValueError:
            raise bad_rows.BadRowError(bad_rows.NO_NUMBER, f"{name} is {row[name]!r}") from None
    return values


def _moment(names: Sequence[str | None]) -> int | None:
    """When a row's pictures were taken, by the first of their names that says it.

    Milliseconds since 1970 by the clock of the recording machine.
    """
    for name in names:
        match = _TIME.search(name or "")
        if match:
            year, month, day, hour, minute, second, milliseconds = map(int, match[1].split("_"))
            try:
                passed = datetime.datetime(year, month, day, hour, minute, second) - _EPOCH
            except ValueError:
                continue
            return (passed.days * 86400 + passed.seconds) * 1000 + milliseconds
    return None


def _file_name(path: str) -> str:
    return path[max(path.rfind("/"), path.rfind("\\")) + 1 :]
