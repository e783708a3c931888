"""Opens a prepared dataset and reads it: labels from the table, pictures by record id.

Everything that a damaged, truncated or foreign folder can do to a reader is caught when it is
opened, by comparing the files with the manifest. Writing stands in `shards.py`.
"""

import collections
import dataclasses
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from array_record.python.array_record_module import ArrayRecordReader

from jaxdrive.data.frames import DRIVING_CAMERA
from jaxdrive.data.parts import file_hash
from jaxdrive.data.record import image_bytes
from jaxdrive.data.shards import MANIFEST, READER_OPTIONS, SCHEMA_VERSION, TABLE
from jaxdrive.data.split import GAP, SPLITS
from jaxdrive.errors import UserError
from jaxdrive.heads import derivable, derive

_TEXTS = ("split", "camera", "session", "origin")
# Shards that a thread keeps open: systems allow a process about a thousand files.
_OPEN_READERS = 64


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A prepared dataset. Record ids are rows of the table and positions in the shards: 0 to N-1.

    Attributes:
      path: Its folder.
      manifest: What `manifest.json` says.
      labels: By label name, float32 [N], as recorded; derived ones beside them.
      splits: The split's name of every record, or `split.GAP`, [N].
      cameras: The camera that saw every record, [N].
      sessions: The session's name of every record, [N].
      times: Seconds since the session's start, float64 [N].
      origins: File and row, or simulator and seed, of every record, [N].
    """

    path: Path
    manifest: Mapping[str, Any]
    labels: Mapping[str, np.ndarray]
    splits: np.ndarray
    cameras: np.ndarray
    sessions: np.ndarray
    times: np.ndarray
    origins: np.ndarray

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every picture."""
        height, width, channels = self.manifest["image_shape"]
        return height, width, channels

    def ids(self, split: str) -> np.ndarray:
        """The records of one split, int32, ascending."""
        return np.flatnonzero(self.splits == split).astype(np.int32)

    def counts(self) -> str:
        """A line of text: how many frames there are of every split, and what is in none."""
        parts = [f"{len(self.ids(split)):,} for {split}" for split in SPLITS]
        gap, bad = len(self.ids(GAP)), self.manifest["bad_rows"]["count"]
        parts += [f"{gap:,} in the gaps between them"] * bool(gap)
        return ", ".join(parts + [f"{bad:,} bad rows left out"] * bool(bad))

    def driving_ids(self, split: str) -> np.ndarray:
        """Those of them that the camera in the middle saw, which is the one that drives.

        What is measured is measured on these: the labels of other cameras are corrected by guess.
        """
        return np.flatnonzero((self.splits == split) & (self.cameras == DRIVING_CAMERA)).astype(
            np.int32
        )


def open_dataset(path: Path) -> Dataset:
    """Opens a prepared dataset after comparing its files with its manifest.

    Raises:
      UserError: There is none, it was written by another schema, or a file is missing or damaged.
    """
    if not (path / MANIFEST).exists():
        raise UserError(f"{path} holds no prepared dataset: there is no {MANIFEST} in it")
    remedy = f"delete the folder {path} and run `prepare` again to write it anew"
    try:
        manifest = json.loads((path / MANIFEST).read_text())
    except ValueError as error:
        raise UserError(
            f"damaged dataset: {path / MANIFEST} is no JSON ({error}): {remedy}"
        ) from error
    found = manifest.get("schema_version")
    if found != SCHEMA_VERSION:
        raise UserError(
            f"the dataset in {path} has schema version {found}, this jaxdrive reads version"
            f" {SCHEMA_VERSION}: {remedy}"
        )
    for shard in manifest["shards"]:
        file = path / shard["file"]
        size = file.stat().st_size if file.exists() else None
        if size != shard["bytes"]:
            state = "is missing" if size is None else f"has {size} bytes"
            raise UserError(
                f"damaged dataset: {file} {state}, its manifest says {shard['bytes']} bytes:"
                f" {remedy}"
            )
    file = path / TABLE
    if not file.exists() or file_hash(file) != manifest["table"]["sha256"]:
        state = "is not what its manifest says" if file.exists() else "is missing"
        raise UserError(f"damaged dataset: {file} {state}: {remedy}")
    table = pq.read_table(file)
    labels = {name: table[f"label/{name}"].to_numpy() for name in manifest["labels"]}
    labels |= {name: derive(name, labels) for name in derivable(labels)}
    texts = {name: np.asarray(table[name].to_pylist()) for name in _TEXTS}
    return Dataset(
        path=path,
        manifest=manifest,
        labels=labels,
        splits=texts["split"],
        cameras=texts["camera"],
        sessions=texts["session"],
        times=table["time"].to_numpy(),
        origins=texts["origin"],
    )


class ImageReader:
    """Reads pictures by record id. Safe to share between threads.

    Each thread keeps its own file handles, since a shard's reader has one position in its file.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._files = [dataset.path / shard["file"] for shard in dataset.manifest["shards"]]
        lengths = [shard["records"] for shard in dataset.manifest["shards"]]
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        self._shape = dataset.image_shape
        self._local = threading.local()

    def read(self, ids: np.ndarray) -> np.ndarray:
        """The pictures of `ids` (int [n]) in that order: uint8 [n, H, W, 3].

        Raises:
          UserError: A record is damaged.
        """
        images = np.empty((len(ids), *self._shape), np.uint8)
        shards = np.searchsorted(self._starts, ids, side="right") - 1
        for shard in np.unique(shards):
            rows = np.flatnonzero(shards == shard)
            records = self._records(int(shard), (ids[rows] - self._starts[shard]).tolist())
            for row, record in zip(rows, records, strict=True):
                images[row] = np.frombuffer(image_bytes(record), np.uint8).reshape(self._shape)
        return images

    def _records(self, shard: int, positions: Sequence[int]) -> Sequence[bytes]:
        readers = self._local.__dict__.setdefault("readers", collections.OrderedDict())
        try:
            if shard not in readers:
                if len(readers) == _OPEN_READERS:
                    readers.popitem(last=False)[1].close()
                readers[shard] = ArrayRecordReader(
                    str(self._files[shard]), READER_OPTIONS, file_reader_buffer_size=32768
                )
            readers.move_to_end(shard)
            return readers[shard].read(positions)
        except (RuntimeError, ValueError, IndexError) as error:
            folder = self._files[shard].parent
            raise UserError(
                f"damaged dataset: {self._files[shard]} cannot be read at records {positions}"
                f" ({error}): where it is not the disk's fault, delete the folder {folder} and run"
                " `prepare` again"
            ) from error
