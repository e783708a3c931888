"""Writes image stores: pieces of sessions in worker processes, then a store of each session.

A piece of a session becomes a part: its shards, its rows of the index, and a note. The note is
written last and renamed into place, so a part without one was interrupted and is written again.
While a store is made its folder is called `.incomplete`; only a complete store gets its name.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath

from jaxdrive.data import store as stores
from jaxdrive.data.frames import (
    BadImage,
    BadRow,
    Entry,
    Fit,
    Frame,
    Session,
    entries_table,
    fit_image,
)
from jaxdrive.data.record import load_messages, write_record
from jaxdrive.data.store import Array, Shard, array_of, checksum, entry_of, record_id

_WRITER_OPTIONS = "group_size:1,uncompressed"
_SHARD_BYTES = 256_000_000
# Shards of a part at most, so that their numbers do not overlap.
_PART_SHARDS = 10_000
_INCOMPLETE = ".incomplete"
_NONCE = "nonce"
_DATASET = "jaxdrive"
# "all" is reserved: TFDS means every split by it.
PHYSICAL_SPLIT = "frames"


# What the index says of an image: a frame or bad row where only the images tell; else why the image
# cannot be used, or nothing.
Row = Entry | BadRow | BadImage | None


@dataclasses.dataclass(frozen=True)
class Part:
    """A part that is written.

    Attributes:
      index: Its rows of the store's index, see `store.read_index`.
      shards: In order; named for the part.
      arrays: By name, what its records hold; empty where there is no record.
    """

    index: pa.Table
    shards: Sequence[Shard]
    arrays: Mapping[str, Array]


def warm_up() -> None:
    """Imports what writing a part needs; returns nothing, since modules cannot be sent."""
    load_messages()


def begin(folder: Path) -> Path:
    """The folder where the parts of the store `folder` are collected.

    Parts of an interrupted attempt are kept; an attempt that was interrupted while its parts were
    joined begins again.
    """
    partial = incomplete(folder)
    if partial.exists() and not all(
        path.name == _NONCE or path.name.startswith("part-") for path in partial.iterdir()
    ):
        shutil.rmtree(partial)
    partial.mkdir(parents=True, exist_ok=True)
    if not _nonce(partial):
        (partial / _NONCE).write_text(os.urandom(stores.NONCE_BYTES).hex())
    return partial


def incomplete(folder: Path) -> Path:
    """What the folder of a store is called while the store is made."""
    return folder.with_name(folder.name + _INCOMPLETE)


def _nonce(partial: Path) -> bytes:
    file = partial / _NONCE
    text = file.read_text() if file.exists() else ""
    return bytes.fromhex(text) if len(text) == 2 * stores.NONCE_BYTES else b""


def is_written(partial: Path, piece: int) -> bool:
    """Whether the part of a piece is complete."""
    return _note(partial, piece).exists()


def write_part(partial: Path, piece: int, session: Session, fit: Fit) -> int:
    """Writes one piece of a session.

    Args:
      partial: The folder that `begin` returned.
      piece: Place of the piece in the session.
      session: With that piece alone.
      fit: How its images become the network's.

    Returns:
      The number of records.

    Raises:
      UserError: The fit leaves nothing of an image.
    """
    rows: list[Row] = []
    items = (item for read in session.pieces for item in read())
    return write_records(partial, piece, _fitted(items, fit, rows), rows)


def write_records(
    partial: Path,
    piece: int,
    records: Iterable[Mapping[str, np.ndarray]],
    rows: Sequence[Row],
) -> int:
    """Writes records as the part of a piece; returns their number.

    Args:
      partial: The folder that `begin` returned.
      piece: Place of the piece in the session.
      records: By name, the arrays of each: uint8 or float16, of the same shapes in all records.
      rows: Of the index. It may grow while records are read.
    """
    for left_over in partial.glob(f"{_stem(piece)}*"):
        left_over.unlink()
    shards, arrays = _write_shards(partial, piece, records)
    pq.write_table(_index(rows), partial / f"{_stem(piece)}.parquet")
    note = {
        "shards": [entry_of(shard) for shard in shards],
        "arrays": {name: dataclasses.asdict(array) for name, array in arrays.items()},
    }
    unfinished = partial / f"{_stem(piece)}.partial"
    unfinished.write_text(json.dumps(note))
    unfinished.rename(_note(partial, piece))
    return sum(shard.records for shard in shards)


def finish(folder: Path, session: Session, fit: Fit) -> None:
    """Joins the parts of all pieces of a session to the store `folder`."""
    partial = incomplete(folder)
    parts = [_read_part(partial, piece) for piece in range(len(session.pieces))]
    shards: list[Shard] = []
    for shard in (shard for part in parts for shard in part.shards):
        name = f"{_DATASET}-{PHYSICAL_SPLIT}.array_record-{len(shards):05d}"
        shards.append(dataclasses.replace(shard, path=shard.path.rename(partial / name)))
    arrays = next((part.arrays for part in parts if part.arrays), {})
    if shards:
        _write_tfds_metadata(partial, arrays, shards)
    index = pa.concat_tables([part.index for part in parts], promote_options="default")
    pq.write_table(_numbered(index), partial / stores.INDEX)
    manifest = {
        "format": stores.FORMAT,
        "nonce": _nonce(partial).hex(),
        "recording": session.place or session.name,
        "session": session.name,
        "images": session.images,
        "fit": vars(fit),
        "arrays": {name: dataclasses.asdict(array) for name, array in arrays.items()},
        "records": sum(shard.records for shard in shards),
        "shards": [entry_of(shard) for shard in shards],
        "index": {"file": stores.INDEX, "xxh3_128": checksum(partial / stores.INDEX)},
    }
    (partial / stores.MANIFEST).write_text(json.dumps(manifest, indent=1))
    for left_over in (*partial.glob("part-*"), partial / _NONCE):
        left_over.unlink()
    partial.rename(folder)


def _fitted(
    items: Iterable[Frame | BadRow | np.ndarray | BadImage],
    fit: Fit,
    rows: list[Row],
) -> Iterator[dict[str, np.ndarray]]:
    """The arrays of every record; `rows` receives what the index says."""
    for item in items:
        if isinstance(item, (BadRow, BadImage)):
            rows.append(item)
            continue
        if isinstance(item, Frame):
            rows.append(Entry(item.labels, item.time, item.camera, item.origin))
            yield {stores.IMAGE: fit_image(item.image, fit)}
        else:
            rows.append(None)
            yield {stores.IMAGE: fit_image(item, fit)}


def _index(rows: Sequence[Row]) -> pa.Table:
    """Rows of the index. Records are numbered in `_numbered`, when all parts are there."""
    bad = [row if isinstance(row, (BadRow, BadImage)) else None for row in rows]
    columns = {
        "record": pa.array([None if row else 0 for row in bad], pa.int64()),
        "reason": pa.array([row and row.reason for row in bad], pa.string()),
        "detail": pa.array([row and row.detail for row in bad], pa.string()),
    }
    known = [row for row in rows if isinstance(row, (Entry, BadRow))]
    if known:
        labels = next((tuple(row.labels) for row in known if isinstance(row, Entry)), ())
        entries = entries_table(known, labels)
        columns |= {name: entries[name] for name in entries.column_names if name not in columns}
    return pa.table(columns)


def _numbered(index: pa.Table) -> pa.Table:
    """The index with the place of every record in the store."""
    stored = index["record"].is_valid().to_numpy()
    places = pa.array(np.cumsum(stored) - 1, pa.int64(), mask=~stored)
    return index.set_column(index.column_names.index("record"), "record", places)


def _write_shards(
    partial: Path, piece: int, records: Iterable[Mapping[str, np.ndarray]]
) -> tuple[list[Shard], dict[str, Array]]:
    """Writes the records of a part to as many shards as they need; also says what they hold."""
    nonce = _nonce(partial)
    shards: list[Shard] = []
    arrays: dict[str, Array] = {}
    writer, room, count = None, 0, 0
    for record in records:
        if not arrays:
            arrays = {name: array_of(array) for name, array in record.items()}
        size = sum(array.nbytes for array in record.values())
        if writer is None or room < size:
            if writer is not None:
                writer.close()
                shards[-1] = _closed(shards[-1], count)
            number = piece * _PART_SHARDS + len(shards)
            path = partial / f"{_stem(piece)}-{len(shards):03d}.array_record"
            shards.append(Shard(path, number, 0, 0, ""))
            writer, room, count = ArrayRecordWriter(str(path), _WRITER_OPTIONS), _SHARD_BYTES, 0
        writer.write(
            write_record({**record, stores.RECORD_ID: record_id(nonce, shards[-1].number, count)})
        )
        room -= size
        count += 1
    if writer is not None:
        writer.close()
        shards[-1] = _closed(shards[-1], count)
    return shards, arrays


def _closed(shard: Shard, records: int) -> Shard:
    return dataclasses.replace(
        shard, records=records, size=shard.path.stat().st_size, checksum=checksum(shard.path)
    )


def _read_part(partial: Path, piece: int) -> Part:
    note = json.loads(_note(partial, piece).read_text())
    return Part(
        index=pq.read_table(partial / f"{_stem(piece)}.parquet"),
        shards=[stores.shard_of(partial, entry) for entry in note["shards"]],
        arrays={
            name: Array(tuple(array["shape"]), array["dtype"])
            for name, array in note["arrays"].items()
        },
    )


def _note(partial: Path, piece: int) -> Path:
    return partial / f"{_stem(piece)}.json"


def _stem(piece: int) -> str:
    return f"part-{piece:04d}"


def _write_tfds_metadata(
    folder: Path, arrays: Mapping[str, Array], shards: Sequence[Shard]
) -> None:
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(
        data_dir=epath.Path(folder),
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}",
        dataset_name=_DATASET,
        split=PHYSICAL_SPLIT,
        filetype_suffix="array_record",
    )
    split = tfds.core.SplitInfo(
        name=PHYSICAL_SPLIT,
        shard_lengths=[shard.records for shard in shards],
        num_bytes=sum(shard.size for shard in shards),
        filename_template=template,
    )
    held = {**arrays, stores.RECORD_ID: Array((stores.RECORD_ID_BYTES,), "uint8")}
    features: dict[str, Any] = {
        name: tfds.features.Tensor(
            shape=array.shape, dtype=np.dtype(array.dtype), encoding=tfds.features.Encoding.BYTES
        )
        for name, array in held.items()
    }
    # check_data would read the data back through TensorFlow, which is not a dependency.
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=tfds.features.FeaturesDict(features),
        split_infos=[split],
        filename_template=template,
        check_data=False,
        description="Images of a recording as the network gets them; labels are in datasets.",
    )
