"""A dataset: a label table, and a manifest that names the stores of its images.

The folder of a dataset holds `labels.parquet`, a row for each frame; `manifest.json`; and for
people `rows.csv`, the recordings' own rows with what became of them. Its stores are folders beside
it, which it shares with other datasets. Opening a dataset compares its files with its manifest, so
that damage is found before it is used. `prepare.py` makes datasets.
"""

import dataclasses
import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from jaxdrive.data import bad_rows, usage
from jaxdrive.data.frames import DRIVING_CAMERA, LABEL, Session
from jaxdrive.data.label_table import Labels, label_names, split_counts, unique, used_rows
from jaxdrive.data.split import GAP, SPLITS
from jaxdrive.data.store import (
    IMAGE,
    Array,
    DamageError,
    Store,
    check_shards,
    checksum,
    fault,
    open_store,
    read_index,
    read_store,
    remedy,
    shard_of,
    verify,
)
from jaxdrive.errors import UserError
from jaxdrive.heads import derivable, derive

SCHEMA_VERSION = 4
# Datasets that were their own store: shards without record ids beside the table.
OLD_SCHEMA_VERSION = 3
MANIFEST = "manifest.json"
TABLE = "labels.parquet"
ROWS = "rows.csv"
INCOMPLETE = ".incomplete"

_TEXTS = ("split", "camera", "session", "origin")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A prepared dataset. Record ids are rows of its table, 0 to N-1.

    Attributes:
      path: Its folder.
      manifest: What `manifest.json` says.
      stores: Where its images are.
      places: Of every record, its place among the records of all stores together, int64 [N].
      labels: By label name, float32 [N], as recorded; derived ones beside them.
      splits: The split's name of every record, or `split.GAP`, [N].
      cameras: The camera that saw every record, [N].
      sessions: The session's name of every record, [N].
      times: Seconds since the session's start, float64 [N].
      origins: File and row, or simulator and seed, of every record, [N].
    """

    path: Path
    manifest: Mapping[str, Any]
    stores: Sequence[Store]
    places: np.ndarray
    labels: Mapping[str, np.ndarray]
    splits: np.ndarray
    cameras: np.ndarray
    sessions: np.ndarray
    times: np.ndarray
    origins: np.ndarray

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""
        height, width, channels = self.manifest["image_shape"]
        return height, width, channels

    @property
    def arrays(self) -> Mapping[str, Array]:
        """By name, what every record holds."""
        return next((store.arrays for store in self.stores if store.arrays), {})

    @property
    def size(self) -> int:
        """Bytes of its stores, which other datasets may use too."""
        return sum(store.size for store in self.stores)

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
        """Those of a split that the middle camera saw, which is the one that drives.

        Scores are measured on these: the labels of other cameras are corrected by guess.
        """
        return np.flatnonzero((self.splits == split) & (self.cameras == DRIVING_CAMERA)).astype(
            np.int32
        )


@dataclasses.dataclass(frozen=True)
class Verified:
    """What comparing all bytes with their checksums found.

    Attributes:
      shards: How many were compared.
      unchecked: How many have no checksum.
      size: Bytes of those that were compared.
      faults: A message for the user about each damaged store and the table; empty where all is
        well.
    """

    shards: int
    unchecked: int
    size: int
    faults: Sequence[str]


def write_dataset(
    folder: Path,
    sessions: Sequence[Session],
    stores: Sequence[Store],
    labels: Labels,
    about: Mapping[str, Any],
) -> None:
    """Writes a dataset, in place of one of the same name.

    Args:
      folder: Of the dataset; its stores are beside it.
      sessions: In order.
      stores: By session, its store.
      labels: What `label_table.build_labels` made of these.
      about: What the manifest says first: fingerprint, source, settings, fit.

    Raises:
      UserError: There is not one usable frame.
    """
    bad = bad_rows.report(labels.bad)
    if not labels.table.num_rows:
        raise UserError(bad_rows.nothing_left(sessions, bad))
    partial = folder.with_name(folder.name + INCOMPLETE)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    pq.write_table(labels.table, partial / TABLE)
    rows = [session.rows for session in sessions if session.rows is not None]
    if rows:
        used = used_rows(pa.concat_tables(rows), labels.table, labels.bad)
        pa.csv.write_csv(used, partial / ROWS)
    height, width = about["fit"]["height"], about["fit"]["width"]
    manifest = {
        "schema_version": SCHEMA_VERSION,
        **about,
        "image_shape": [height, width, 3],
        "labels": label_names(labels.table),
        "sessions": [
            {
                "name": session.name,
                "start": session.start,
                "records": records,
                "bad_rows": count,
                "store": store.path.name,
            }
            for session, store, records, count in zip(
                sessions, stores, labels.records, labels.bad_counts, strict=True
            )
        ],
        "frames": split_counts(labels.table, (*SPLITS, GAP)),
        "bad_rows": bad,
        "stores": [
            {"folder": store.path.name, "nonce": store.nonce.hex()} for store in unique(stores)
        ],
        "table": {
            "file": TABLE,
            "rows": labels.table.num_rows,
            "xxh3_128": checksum(partial / TABLE),
        },
    }
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
    if folder.exists():
        usage.keep_notes(folder, partial)
        shutil.rmtree(folder)
    partial.rename(folder)


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a dataset of a schema that this jaxdrive reads.

    Raises:
      UserError: There is none, it is damaged, or of another schema.
    """
    file = path / MANIFEST
    if not file.exists():
        raise UserError(f"{path} holds no prepared dataset: there is no {MANIFEST} in it")
    try:
        manifest = json.loads(file.read_text())
        found = manifest.get("schema_version")
    except (ValueError, AttributeError) as error:
        raise DamageError(
            f"damaged dataset: {file} is no JSON of a dataset ({error}): {_remedy(path)}"
        ) from error
    if found not in (SCHEMA_VERSION, OLD_SCHEMA_VERSION):
        raise UserError(
            f"the dataset in {path} has schema version {found}, this jaxdrive reads versions"
            f" {OLD_SCHEMA_VERSION} and {SCHEMA_VERSION}: {_remedy(path)}"
        )
    return manifest


def open_dataset(path: Path) -> Dataset:
    """Opens a prepared dataset after comparing its files, and those of its stores, with manifests.

    Raises:
      UserError: There is none, it was written by another schema, or a file is missing, damaged, or
        that of another dataset.
    """
    manifest = read_manifest(path)
    old = manifest["schema_version"] == OLD_SCHEMA_VERSION
    stores = open_stores(path, manifest)
    table = _table(path, manifest)
    labels = {name: table[f"{LABEL}{name}"].to_numpy() for name in manifest["labels"]}
    labels |= {name: derive(name, labels) for name in derivable(labels)}
    texts = {name: _texts(table[name]) for name in _TEXTS}
    return Dataset(
        path=path,
        manifest=manifest,
        stores=stores,
        places=np.arange(table.num_rows) if old else _places(table, stores),
        labels=labels,
        splits=texts["split"],
        cameras=texts["camera"],
        sessions=texts["session"],
        times=table["time"].to_numpy(),
        origins=texts["origin"],
    )


def open_stores(path: Path, manifest: Mapping[str, Any]) -> list[Store]:
    """Opens the stores of a dataset, as `open_dataset` does."""
    return [opened() for opened in _openers(path, manifest, check=True)]


def verify_dataset(path: Path) -> Verified:
    """Compares all bytes of shards, indexes and label table with their checksums.

    Raises:
      UserError: There is no dataset, or it was written by another version of jaxdrive.
    """
    manifest = read_manifest(path)
    stores, faults = [], []
    for opened in _openers(path, manifest, check=False):
        try:
            stores.append(store := opened())
            if store.nonce:
                read_index(store)
        except DamageError as error:
            faults.append(str(error))
    shards = [(store, shard) for store in stores for shard in store.shards]
    unchecked = [(store, shard) for store, shard in shards if not shard.checksum]
    damaged: dict[Path, list[str]] = {}
    for store, shard in (*verify(stores), *unchecked):
        found = fault(store, shard) or (shard.checksum and "has other bytes than were written")
        if found:
            damaged.setdefault(store.path, []).append(f"{shard.path} {found}")
    faults += [
        _damage_text(path, store, damaged[store.path]) for store in stores if store.path in damaged
    ]
    try:
        _table(path, manifest)
    except DamageError as error:
        faults.append(str(error))
    return Verified(
        shards=len(shards) - len(unchecked),
        unchecked=len(unchecked),
        size=sum(shard.size for _, shard in shards if shard.checksum),
        faults=faults,
    )


def _damage_text(path: Path, store: Store, damaged: Sequence[str]) -> str:
    """The message about a store with damaged shards."""
    mend = remedy(store.path) if store.nonce else _remedy(path)
    first = f"damaged dataset: {len(damaged)} of {len(store.shards)} shards in {store.path}"
    return "\n  ".join([first, *damaged]) + f"\nTo mend it, {mend}"


def _openers(path: Path, manifest: Mapping[str, Any], *, check: bool) -> list[Callable[[], Store]]:
    """For each store of a dataset, what opens it; with `check`, after looking at its shards."""
    if manifest["schema_version"] == OLD_SCHEMA_VERSION:
        return [functools.partial(_own_store, path, manifest, check=check)]
    return [
        functools.partial(_named_store, path, entry, check=check) for entry in manifest["stores"]
    ]


def _named_store(path: Path, entry: Mapping[str, str], *, check: bool) -> Store:
    folder = path.parent / entry["folder"]
    if not folder.exists():
        raise DamageError(
            f"images of the dataset {path} are missing: they belong in {folder}, beside it. Copy"
            " them there, or run `prepare` again, which reads them from the recording"
        )
    store = open_store(folder) if check else read_store(folder)
    if store.nonce.hex() != entry["nonce"]:
        raise DamageError(
            f"damaged dataset: the images in {store.path} were read again after {path} was"
            f" made, so its table may not fit them: {_remedy(path)}"
        )
    return store


def _own_store(path: Path, manifest: Mapping[str, Any], *, check: bool) -> Store:
    """The store that a dataset of the old schema is itself."""
    arrays = {IMAGE: Array(tuple(manifest["image_shape"]), "uint8")}
    shards = [shard_of(path, entry) for entry in manifest["shards"]]
    store = Store(path, b"", arrays, shards, manifest)
    if check:
        check_shards(store, _remedy(path))
    return store


def _places(table: pa.Table, stores: Sequence[Store]) -> np.ndarray:
    starts = np.cumsum([0, *(store.records for store in stores)])
    return starts[table["store"].to_numpy()] + table["record"].to_numpy()


def _table(path: Path, manifest: Mapping[str, Any]) -> pa.Table:
    """The label table, if it is what the manifest says."""
    file, about = path / TABLE, manifest["table"]
    if not file.exists():
        raise DamageError(f"damaged dataset: {file} is missing: {_remedy(path)}")
    if "sha256" in about:
        same = hashlib.sha256(file.read_bytes()).hexdigest() == about["sha256"]
    else:
        same = checksum(file) == about["xxh3_128"]
    if not same:
        raise DamageError(f"damaged dataset: {file} is not what its manifest says: {_remedy(path)}")
    return pq.read_table(file)


def _texts(column: pa.ChunkedArray) -> np.ndarray:
    """A column of texts, many of which are the same, as an array of strings."""
    coded = column.combine_chunks().dictionary_encode()
    return np.asarray(coded.dictionary.to_pylist(), str)[coded.indices.to_numpy()]


def _remedy(path: Path) -> str:
    return f"delete the folder {path} and run `prepare` again to write it again"
