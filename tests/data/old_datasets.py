"""Writes datasets of schema version 3, which held their own shards, as jaxdrive 0 wrote them."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.proto import tf_example_pb2

from jaxdrive.data.frames import Frame, Session


def write(folder: Path, sessions: Sequence[Session], **about) -> None:
    """A shard for each session, whose records hold the labels too; a table; a manifest."""
    folder.mkdir(parents=True)
    held = [list(session.read()) for session in sessions]
    shards = [_write_shard(folder, number, frames) for number, frames in enumerate(held)]
    rows = [
        (session.name, session.split, frame)
        for session, frames in zip(sessions, held, strict=True)
        for frame in frames
    ]
    labels = list(rows[0][2].labels)
    columns = {
        "session": [name for name, _, _ in rows],
        "split": [split or "train" for _, split, _ in rows],
        "time": [frame.time for *_, frame in rows],
        "camera": [frame.camera for *_, frame in rows],
        "origin": [frame.origin for *_, frame in rows],
    }
    table = pa.table(columns)
    for name in labels:
        values = pa.array([frame.labels[name] for *_, frame in rows], pa.float32())
        table = table.append_column(f"label/{name}", values)
    pq.write_table(table, folder / "labels.parquet")
    digest = hashlib.sha256((folder / "labels.parquet").read_bytes()).hexdigest()
    manifest = {
        "schema_version": 3,
        "image_shape": rows[0][2].image.shape,
        "labels": labels,
        "sessions": [{"name": session.name, "start": session.start} for session in sessions],
        "frames": {split: columns["split"].count(split) for split in set(columns["split"])},
        "bad_rows": {"count": 0, "reasons": {}, "list": []},
        "shards": shards,
        "table": {"file": "labels.parquet", "rows": len(rows), "sha256": digest},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest | about))


def _write_shard(folder: Path, number: int, frames: Sequence[Frame]) -> dict:
    path = folder / f"jaxdrive-frames.array_record-{number:05d}"
    writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    for frame in frames:
        example = tf_example_pb2.Example()
        features = example.features.feature
        features["image"].bytes_list.value.append(frame.image.tobytes())
        for name, value in frame.labels.items():
            features[f"labels/{name}"].float_list.value.append(value)
        writer.write(example.SerializeToString(deterministic=True))
    writer.close()
    content = path.read_bytes()
    return {
        "file": path.name,
        "records": len(frames),
        "bytes": len(content),
        "xxh3_128": xxhash.xxh3_128_hexdigest(content),
    }
