"""A prepared dataset on disk: shards of decoded frames, a label table and a manifest.

The shards are a standard TFDS dataset (ArrayRecord, one physical split), which
`tfds.builder_from_directory(path).as_data_source("frames")` reads; records are uncompressed and one
to a group, so that any of them is one short read. Labels for training come from the table (Parquet,
one row a record), so balancing reads no picture. The manifest says what a complete dataset
consists of. Making the frames is left to `sources/`, the order of work to `prepare.py`.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from etils import epath

from jaxdrive.data import bad_rows
from jaxdrive.data.frames import BadRow, Fit, Frame, Session, fit_image
from jaxdrive.data.split import GAP, SPLITS, SplitRule, split_of

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
TABLE = "labels.parquet"
# "all" is reserved: TFDS means every split by it.
PHYSICAL_SPLIT = "frames"

# Without read-ahead a random read fetches one record, not a buffer.
READER_OPTIONS = "readahead_buffer_size:0"
_WRITER_OPTIONS = "group_size:1,uncompressed"
_NAME = "jaxdrive"
_SHARD_BYTES = 256_000_000


def write_session(
    folder: Path, index: int, session: Session, fit: Fit, *, rule: SplitRule, on_bad: str
) -> int:
    """Writes one session as parts of a dataset that `assemble` later joins.

    The row table is written last and renamed into place: a session without one was interrupted
    and is written anew.

    Args:
      folder: Where parts are collected.
      index: Place of the session in the dataset.
      session: What to read.
      fit: How its pictures become the network's.
      rule: How it is split where it does not know its split.
      on_bad: What becomes of rows that no frame can be made of: see `bad_rows.sift`.

    Returns:
      The number of frames.

    Raises:
      UserError: The session has no frames, or a row is bad and that is an error.
    """
    columns: dict[str, list[Any]] = {}
    bad: list[BadRow] = []
    for left_over in folder.glob(f"part-{index:05d}-*"):
        left_over.unlink()
    frames = bad_rows.sift(session, bad, on_bad=on_bad)
    paths = _write_shards(folder, index, _fitted(frames, session, fit, rule, columns))
    bad_rows.check_any_left(session, len(paths), bad)
    _part_bad_rows(folder, index).write_text(json.dumps(bad_rows.report(bad)))
    table = pa.table(
        {name: pa.array(values, _column_type(name)) for name, values in columns.items()}
    )
    rows = part_table(folder, index)
    partial = rows.with_suffix(".partial")
    pq.write_table(table, partial)
    partial.rename(rows)
    return table.num_rows


def part_table(folder: Path, index: int) -> Path:
    """The file whose presence says that session `index` is written."""
    return folder / f"part-{index:05d}.parquet"


def _part_bad_rows(folder: Path, index: int) -> Path:
    return folder / f"part-{index:05d}-bad.json"


def part_shards(folder: Path) -> list[Path]:
    """The shards that wait in `folder` to be joined, in the dataset's order."""
    return sorted(folder.glob("part-*.array_record"))


def _column_type(name: str) -> pa.DataType:
    if name.startswith("label/"):
        return pa.float32()
    return pa.float64() if name == "time" else pa.string()


def _fitted(
    frames: Iterable[Frame],
    session: Session,
    fit: Fit,
    rule: SplitRule,
    columns: dict[str, list[Any]],
) -> Iterator[Frame]:
    for frame in frames:
        row = {
            "session": session.name,
            "split": split_of(session, frame.time, rule),
            "time": frame.time,
            "camera": frame.camera,
            "origin": frame.origin,
        } | {f"label/{name}": value for name, value in frame.labels.items()}
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
        yield dataclasses.replace(frame, image=fit_image(frame.image, fit))


def _write_shards(folder: Path, index: int, frames: Iterable[Frame]) -> list[Path]:
    paths: list[Path] = []
    writer, room, serializer = None, 0, None
    for frame in frames:
        if serializer is None:
            features = _features(frame.image.shape, sorted(frame.labels))
            serializer = _serializer(features)
        record = serializer(frame)
        if writer is None or room < len(record):
            if writer is not None:
                writer.close()
            paths.append(folder / f"part-{index:05d}-{len(paths):03d}.array_record")
            writer, room = ArrayRecordWriter(str(paths[-1]), _WRITER_OPTIONS), _SHARD_BYTES
        writer.write(record)
        room -= len(record)
    if writer is not None:
        writer.close()
    return paths


def _features(image_shape: tuple[int, ...], labels: Iterable[str]) -> Any:
    import tensorflow_datasets as tfds

    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Tensor(
                shape=image_shape, dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
            ),
            "labels": {name: tfds.features.Scalar(np.float32) for name in labels},
        }
    )


def _serializer(features: Any) -> Any:
    from tensorflow_datasets.core import example_serializer

    to_message = example_serializer.ExampleSerializer(features.get_serialized_info()).get_tf_example

    def serializer(frame: Frame) -> bytes:
        example = {"image": frame.image, "labels": dict(frame.labels)}
        message = to_message(features.encode_example(example))
        # Else features stand in another order each time, and so do the bytes of a dataset.
        return message.SerializeToString(deterministic=True)

    return serializer


def assemble(folder: Path, *, sessions: int, fit: Fit, about: dict[str, Any]) -> dict[str, Any]:
    """Joins the parts in `folder` to a complete dataset: names, table, TFDS metadata, manifest.

    The caller renames the folder to its final name, which is what makes the dataset exist.

    Args:
      folder: Holds the parts of sessions 0 to `sessions` - 1.
      sessions: Their number.
      fit: How the pictures were fitted.
      about: What the manifest says beside counts and hashes (source, settings, fingerprint).

    Returns:
      The manifest.
    """
    parts = [part_table(folder, index) for index in range(sessions)]
    table = pa.concat_tables([pq.read_table(part) for part in parts])
    labels = [
        name.removeprefix("label/") for name in table.column_names if name.startswith("label/")
    ]
    image_shape = (fit.height, fit.width, 3)
    shards = [_name_shard(part, index) for index, part in enumerate(part_shards(folder))]
    _write_tfds_metadata(folder, _features(image_shape, labels), shards)
    pq.write_table(table, folder / TABLE)
    bad = _join_bad_rows(folder, sessions)
    for part in parts:
        part.unlink()
    splits = table["split"].to_pylist()
    manifest = {
        "schema_version": SCHEMA_VERSION,
        **about,
        "image_shape": image_shape,
        "labels": labels,
        "sessions": sessions,
        "frames": {split: splits.count(split) for split in (*SPLITS, GAP)},
        "bad_rows": bad,
        "shards": shards,
        "table": {"file": TABLE, "rows": table.num_rows, "sha256": file_hash(folder / TABLE)},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
    return manifest


def _join_bad_rows(folder: Path, sessions: int) -> dict[str, Any]:
    rows: list[BadRow] = []
    for index in range(sessions):
        part = _part_bad_rows(folder, index)
        rows += [BadRow(**row) for row in json.loads(part.read_text())["list"]]
        part.unlink()
    return bad_rows.report(rows)


def _name_shard(part: Path, index: int) -> dict[str, Any]:
    path = part.with_name(f"{_NAME}-{PHYSICAL_SPLIT}.array_record-{index:05d}")
    part.rename(path)
    reader = ArrayRecordReader(str(path), READER_OPTIONS)
    records = reader.num_records()
    reader.close()
    size = path.stat().st_size
    return {"file": path.name, "records": records, "bytes": size, "sha256": file_hash(path)}


def _write_tfds_metadata(folder: Path, features: Any, shards: list[dict[str, Any]]) -> None:
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(
        data_dir=epath.Path(folder),
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}",
        dataset_name=_NAME,
        split=PHYSICAL_SPLIT,
        filetype_suffix="array_record",
    )
    split = tfds.core.SplitInfo(
        name=PHYSICAL_SPLIT,
        shard_lengths=[shard["records"] for shard in shards],
        num_bytes=sum(shard["bytes"] for shard in shards),
        filename_template=template,
    )
    # check_data would read the data back through TensorFlow, which is not a dependency.
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=[split],
        filename_template=template,
        check_data=False,
        description="Decoded driving frames with their labels as recorded.",
    )


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
