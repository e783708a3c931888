"""Parts of a dataset: what one process writes of one piece of a session, until all are joined.

A part is shards of decoded frames, a table with a row for each, and a note of what the shards hold
and of the bad rows. The note is written last and renamed into place: a part without one was
interrupted and is written anew. Joining parts to a dataset is left to `shards.py`.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from array_record.python.array_record_module import ArrayRecordWriter

from jaxdrive.data import bad_rows
from jaxdrive.data.frames import BadRow, Fit, Frame, Session, fit_image
from jaxdrive.data.record import load_messages, write_record
from jaxdrive.data.split import SplitRule, split_of

_WRITER_OPTIONS = "group_size:1,uncompressed"
_SHARD_BYTES = 256_000_000


# Of a frame: time, camera, origin, labels.
_Row = tuple[float, str, str, Mapping[str, float]]


@dataclasses.dataclass(frozen=True)
class Part:
    """A part that is written.

    Attributes:
      table: A row for every frame, see `dataset.Dataset`; None where there is no frame.
      shards: {"file", "records", "bytes", "xxh3_128"} of each, in order.
      bad: Rows of which no frame could be made.
    """

    table: pa.Table | None
    shards: Sequence[dict[str, Any]]
    bad: Sequence[BadRow]


def warm_up() -> None:
    """Imports what writing a part needs; nothing comes back, since modules cannot be sent."""
    load_messages()


def write_part(
    folder: Path,
    session_index: int,
    piece: int,
    session: Session,
    fit: Fit,
    *,
    rule: SplitRule,
    on_bad: str,
) -> int:
    """Writes one piece of a session.

    Args:
      folder: Where parts are collected.
      session_index: Place of the session in the dataset.
      piece: Place of the piece in the session.
      session: With that piece alone.
      fit: How its pictures become the network's.
      rule: How it is split where it does not know its split.
      on_bad: What becomes of rows that no frame can be made of: see `bad_rows.sift`.

    Returns:
      The number of frames.

    Raises:
      UserError: A row is bad and that is an error.
    """
    kept: list[_Row] = []
    bad: list[BadRow] = []
    stem = _stem(session_index, piece)
    for left_over in folder.glob(f"{stem}*"):
        left_over.unlink()
    frames = bad_rows.sift(session, bad, on_bad=on_bad)
    shards = _write_shards(folder, stem, _fitted(frames, fit, kept))
    table = _table(session, rule, kept) if kept else None
    keep_part(folder, session_index, piece, Part(table, shards, bad))
    return len(kept)


def keep_part(folder: Path, session_index: int, piece: int, part: Part) -> None:
    """Writes table and note of a part whose shards lie in `folder`."""
    stem = _stem(session_index, piece)
    if part.table is not None:
        pq.write_table(part.table, folder / f"{stem}.parquet")
    note = {"shards": part.shards, "bad": [vars(row) for row in part.bad]}
    partial = folder / f"{stem}.partial"
    partial.write_text(json.dumps(note))
    partial.rename(note_file(folder, session_index, piece))


def read_part(folder: Path, session_index: int, piece: int) -> Part:
    """A part that was written."""
    note = json.loads(note_file(folder, session_index, piece).read_text())
    table = folder / f"{_stem(session_index, piece)}.parquet"
    return Part(
        table=pq.read_table(table) if table.exists() else None,
        shards=note["shards"],
        bad=[BadRow(**row) for row in note["bad"]],
    )


def remove_parts(folder: Path, session_index: int) -> None:
    """Removes what is written of a session, whole or not."""
    for left_over in folder.glob(f"part-{session_index:05d}-*"):
        left_over.unlink()


def note_file(folder: Path, session_index: int, piece: int) -> Path:
    """The file whose presence says that a part is written."""
    return folder / f"{_stem(session_index, piece)}.json"


def shard_file(folder: Path, session_index: int, piece: int, number: int) -> Path:
    """The shard `number` of a part."""
    return folder / f"{_stem(session_index, piece)}-{number:03d}.array_record"


def _stem(session_index: int, piece: int) -> str:
    return f"part-{session_index:05d}-{piece:04d}"


def _fitted(
    frames: Iterable[Frame], fit: Fit, kept: list[_Row]
) -> Iterator[tuple[np.ndarray, Mapping[str, float]]]:
    """Pictures as the network gets them, and labels; the frames without picture go to `kept`."""
    for frame in frames:
        kept.append((frame.time, frame.camera, frame.origin, frame.labels))
        yield fit_image(frame.image, fit), frame.labels


def _table(session: Session, rule: SplitRule, kept: Sequence[_Row]) -> pa.Table:
    times, cameras, origins, labels = zip(*kept, strict=True)
    columns = {
        "session": pa.array([session.name] * len(kept), pa.string()),
        "split": pa.array([split_of(session, time, rule) for time in times], pa.string()),
        "time": pa.array(times, pa.float64()),
        "camera": pa.array(cameras, pa.string()),
        "origin": pa.array(origins, pa.string()),
    }
    for name in labels[0]:
        values = [own[name] for own in labels]
        columns[f"label/{name}"] = pa.array(values, pa.float32())
    return pa.table(columns)


def _write_shards(
    folder: Path, stem: str, frames: Iterable[tuple[np.ndarray, Mapping[str, float]]]
) -> list[dict[str, Any]]:
    shards: list[dict[str, Any]] = []
    writer, room = None, 0
    for image, labels in frames:
        record = write_record(image, labels)
        if writer is None or room < len(record):
            if writer is not None:
                writer.close()
            path = folder / f"{stem}-{len(shards):03d}.array_record"
            shards.append({"file": path.name, "records": 0})
            writer, room = ArrayRecordWriter(str(path), _WRITER_OPTIONS), _SHARD_BYTES
        writer.write(record)
        room -= len(record)
        shards[-1]["records"] += 1
    if writer is not None:
        writer.close()
    for shard in shards:
        path = folder / shard["file"]
        shard |= {"bytes": path.stat().st_size, "xxh3_128": checksum(path)}
    return shards


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum(path: Path) -> str:
    """The XXH3 of a file's bytes, 32 hexadecimal digits as `xxhsum -H2` prints them.

    It tells a changed file as SHA-256 does, unless somebody meant to deceive, in a sixth of the
    time.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
