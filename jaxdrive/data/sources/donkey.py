"""Recordings of Donkeycar: tubs of version 2, with `manifest.json`, catalogs and `images`.

Every folder below `config.data.path` that holds a tub is read, in sessions as the tub numbers them.
Records that were deleted in the tub are left out, as its owner wanted; records that a pilot drove
are bad, since what stands in them is not what moved the car. A Donkeycar's throttle goes from -1
(backwards, or braking) to 1: here its negative part is the brake.

Format: https://docs.donkeycar.com/dev_guide/tub_v2/ (read and written by donkeycar/parts/tub_v2.py
of https://github.com/autorope/donkeycar).
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxdrive.data import bad_rows
from jaxdrive.data.frames import (
    DRIVING_CAMERA,
    BadImage,
    BadRow,
    Entry,
    Session,
    entries_table,
)
from jaxdrive.data.sources import folders, pictures, tub
from jaxdrive.data.split import split_settings
from jaxdrive.logs import logger

# Raise when the reader changes what it yields: older datasets are then not taken for new ones.
READER_VERSION = 2

IMAGES = "images"
LABELS = ("steering", "throttle", "brake")

# A loop that records more often than this has no camera in it: its times are those of a conversion.
_FASTEST = 200.0


def labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the labels of every frame."""
    return LABELS


def find(config: Mapping[str, Any]) -> list[folders.Recording]:
    """The tubs at or below `config.data.path`.

    Raises:
      UserError: There is none, or one cannot be read.
    """
    root = Path(config["path"])
    manifests = folders.folders_with(config, tub.MANIFEST, images=IMAGES, recorder="the car")
    found = []
    for folder in tub.only_tubs(manifests):
        files = [tub.MANIFEST, *sorted(file.name for file in folder.glob("*.catalog"))]
        images = folders.files(folder / IMAGES)
        content = {
            "sha256": {name: folders.file_digest(folder / name) for name in files},
            "images_sha256": folders.files_hash(images),
        }
        name = folder.relative_to(root).as_posix()
        found.append(folders.Recording(folder, name, images, content))
    return found


def settings(config: Mapping[str, Any], found: Sequence[folders.Recording]) -> dict[str, Any]:
    """What of `config.data` decides the frames: part of the dataset's fingerprint."""
    return {
        "reader_version": READER_VERSION,
        "recordings": [{"tub": one.name, **one.content} for one in found],
        "frames_per_second": config["frames_per_second"],
        "split": split_settings(config),
        "on_bad": config["on_bad"],
    }


def sessions(config: Mapping[str, Any], found: Sequence[folders.Recording]) -> list[Session]:
    """The sessions of every tub, named by its path below `config.data.path` and their own name.

    Raises:
      UserError: A tub cannot be read.
    """
    seen: dict[Any, str] = {}
    tubs = [(one, _rows(one, seen)) for one in found]
    places = (
        (one.folder / IMAGES, row["image"] or "")
        for one, rows in tubs
        for row in folders.row_dicts(rows)
    )
    size = pictures.first_size(places)
    return [
        _session(config, one, name, rows, size)
        for one, all_rows in tubs
        for name, rows in _by_session(all_rows).items()
    ]


def remedy(split: str) -> str:
    """What to do where a dataset of this source has no frames of `split`."""
    return folders.remedy(split)


def _rows(recording: folders.Recording, seen: dict[Any, str]) -> pa.Table:
    """The records of a tub, and what each is a duplicate of."""
    rows, images = tub.read_tub(recording.folder), recording.images
    origins, keys = [], []
    for row in folders.row_dicts(rows.select(["image", "timestamp_ms", "catalog", "row"])):
        origins.append(f"{recording.name}/{row['catalog']}, row {row['row']}".removeprefix("./"))
        image, time = row["image"], row["timestamp_ms"]
        # All tubs give their images the same names: only times tell them apart.
        own = recording.name if time is None else time
        keys.append((image, images[image].size, own) if image in images else None)
    return folders.with_origins(rows, origins, keys, seen)


def _by_session(rows: pa.Table) -> dict[str | None, pa.Table]:
    """The records of a tub by the name of their session."""
    names = rows["session"].to_pylist()
    return {
        name: rows.filter(pa.array([own == name for own in names], pa.bool_()))
        for name in dict.fromkeys(names)
    }


def _session_name(tub_name: str, own: str | None) -> str:
    return tub_name if own is None else f"{tub_name}/{own}".removeprefix("./")


def _session(
    config: Mapping[str, Any],
    recording: folders.Recording,
    own: str | None,
    all_rows: pa.Table,
    size: tuple[int, int] | None,
) -> Session:
    folder = recording.folder
    rows = all_rows.filter(pc.invert(all_rows["deleted"]))
    name = _session_name(recording.name, own)
    rate = _rate(folder, rows, config["frames_per_second"])
    # Of the deleted ones too: who deletes records moves no other one into another split.
    first = pc.min(all_rows["index" if rate else "timestamp_ms"]).as_py()
    entries, wanted = _entries(rows, rate, first)
    names = [row["image"] or "" for row in wanted]
    # Tubs give their images the same names, so the times count as well.
    times = [row["timestamp_ms"] for row in wanted]
    return Session(
        name=name,
        split=None,
        pieces=[
            functools.partial(_read, folder / IMAGES, piece, size)
            for piece in folders.pieces(names)
        ],
        images=folders.images_text(
            recording.images, names, times, size=size, version=READER_VERSION
        ),
        entries=entries_table(entries, LABELS),
        place=str(folder),
        start=None if rate or first is None else first / 1000,
        rows=folders.for_people(all_rows, session=name, hidden=["row", "session"]),
    )


def _rate(place: Path, rows: pa.Table, frames_per_second: float) -> float:
    """Records a second where they have no usable clock, else 0."""
    times = rows["timestamp_ms"].drop_null().to_numpy()
    if len(times) == pc.sum(pc.is_null(rows["fault"])).as_py() and (
        len(times) < 2 or np.median(np.diff(np.sort(times))) >= 1000 / _FASTEST
    ):
        return 0.0
    logger.info(
        "The times in %s are not those of a drive: its records are taken to be %g a second"
        " (config.data.frames_per_second)",
        place,
        frames_per_second,
    )
    return frames_per_second


def _entries(
    rows: pa.Table, rate: float, first: int | None
) -> tuple[list[Entry | BadRow], list[Mapping[str, Any]]]:
    """An entry for each record, and the records of those that are good."""
    entries: list[Entry | BadRow] = []
    wanted: list[Mapping[str, Any]] = []
    for row in folders.row_dicts(rows):
        origin = f"{row['origin']}, {DRIVING_CAMERA}"
        try:
            if row["fault"]:
                raise bad_rows.BadRowError(row["fault"], row["catalog"])
            labels = _labels(row)
            if row[folders.SEEN_IN]:
                detail = f"{row['image']} is that of {row[folders.SEEN_IN]}"
                raise bad_rows.BadRowError(bad_rows.DUPLICATE, detail)
        except bad_rows.BadRowError as error:
            entries.append(BadRow(origin, error.reason, error.detail))
            continue
        assert first is not None
        time = (row["index"] - first) / rate if rate else (row["timestamp_ms"] - first) / 1000
        entries.append(Entry(labels, time, DRIVING_CAMERA, origin))
        wanted.append(row)
    return entries, wanted


def _read(
    images: Path, names: Sequence[str], size: tuple[int, int] | None
) -> Iterator[np.ndarray | BadImage]:
    for name in names:
        yield pictures.usable_picture(images, name, size)


def _labels(row: Mapping[str, Any]) -> dict[str, float]:
    if row["mode"] not in (None, "user"):
        raise bad_rows.BadRowError("not driven by a person", f"user/mode is {row['mode']!r}")
    values = {}
    for name in ("angle", "throttle"):
        try:
            values[name] = float(row[name])
        except (TypeError, ValueError):
            told = f"user/{name} is {row[name]!r}"
            raise bad_rows.BadRowError(bad_rows.NO_NUMBER, told) from None
    throttle = values["throttle"]
    if not -1 <= throttle <= 1:
        told = f"user/throttle is {throttle}, outside -1 to 1"
        raise bad_rows.BadRowError(bad_rows.OUT_OF_RANGE, told)
    return {
        "steering": values["angle"],
        "throttle": max(throttle, 0.0),
        "brake": max(-throttle, 0.0),
    }
