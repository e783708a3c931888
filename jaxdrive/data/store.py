"""An image store: the fitted images of one session, in shards, which any number of datasets share.

A store is a folder `images-KEY`. The key covers what decides its images: the recording and how
images are fitted. Labels and splits belong to datasets (`dataset.py`). The shards are a standard
TFDS dataset (ArrayRecord, one physical split), which
`tfds.builder_from_directory(path).as_data_source("frames")` reads. Records are uncompressed and one
to a group, so that any of them is one short read.

Every record holds its arrays by name, and its `record_id`: the nonce of its store, the number of
its shard and its place there. So a file that is in the place of another is found. `store.json` says
what a complete store consists of; `index.parquet` has a row for every image that was asked for.
`store_writer.py` writes stores.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import mmap
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from array_record.python.array_record_module import ArrayRecordReader

from jaxdrive.data.frames import Fit, Session
from jaxdrive.data.record import array_bytes
from jaxdrive.errors import UserError

FORMAT = 1
PREFIX = "images-"
MANIFEST = "store.json"
INDEX = "index.parquet"
IMAGE = "image"
RECORD_ID = "record_id"
NONCE_BYTES = 16
RECORD_ID_BYTES = NONCE_BYTES + 8
# Without read-ahead a random read fetches one record, not a buffer.
_READER_OPTIONS, _READER_BUFFER = "readahead_buffer_size:0", 32768
# What reading a file that is not a shard, or a record that is not one of ours, raises.
READ_ERRORS = (RuntimeError, ValueError, IndexError, KeyError)


class DamageError(UserError):
    """A file of a store or of a dataset is not what its manifest says."""


@dataclasses.dataclass(frozen=True)
class Array:
    """What a record holds under one name.

    Attributes:
      shape: Of the array.
      dtype: "uint8" or "float16".
    """

    shape: tuple[int, ...]
    dtype: str


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file of records.

    Attributes:
      path: Where it is.
      number: Unique in its store; records have it in their `record_id`.
      records: How many records it has.
      size: In bytes.
      checksum: As `checksum` gives it; "" where none was kept.
    """

    path: Path
    number: int
    records: int
    size: int
    checksum: str


@dataclasses.dataclass(frozen=True)
class Store:
    """The images of a session on disk.

    Attributes:
      path: Its folder.
      nonce: In the record ids of all its records; b"" where records have no id (datasets of
        schema version 3).
      arrays: By name, what every record holds.
      shards: In the order of their records.
      manifest: What `store.json` says.
    """

    path: Path
    nonce: bytes
    arrays: Mapping[str, Array]
    shards: Sequence[Shard]
    manifest: Mapping[str, Any]

    @property
    def records(self) -> int:
        """How many records there are."""
        return sum(shard.records for shard in self.shards)

    @property
    def size(self) -> int:
        """Bytes of all shards."""
        return sum(shard.size for shard in self.shards)


def store_key(session: Session, fit: Fit) -> str:
    """What names the store of a session: 16 hexadecimal digits."""
    about = {"format": FORMAT, "images": session.images, "fit": vars(fit)}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def store_folder(datasets: Path, key: str) -> Path:
    """Where the store of a key is, among the datasets of `config.data.dir`."""
    return datasets / f"{PREFIX}{key}"


def record_id(nonce: bytes, shard: int, place: int) -> bytes:
    """The bytes that tell a record from all others."""
    return nonce + struct.pack("<II", shard, place)


def remedy(path: Path) -> str:
    """What to do about a damaged store."""
    return (
        f"delete the folder {path} and run `prepare` again, which reads the images of its recording"
        " again"
    )


def open_store(path: Path) -> Store:
    """Opens a store after comparing its files with its manifest, as `check_shards` does.

    Raises:
      DamageError: A file is missing, damaged, or that of another store.
      UserError: The store was written by another version of jaxdrive.
    """
    store = read_store(path)
    check_shards(store, remedy(path))
    return store


def read_store(path: Path) -> Store:
    """What the manifest of a store says; its shards are not looked at.

    Raises:
      DamageError: The manifest is missing or damaged.
      UserError: The store was written by another version of jaxdrive.
    """
    file = path / MANIFEST
    if not file.exists():
        raise DamageError(f"damaged dataset: there is no {file}: {remedy(path)}")
    try:
        manifest = json.loads(file.read_text())
        found = manifest.get("format")
        if found != FORMAT:
            raise UserError(
                f"the images in {path} have format {found}, this jaxdrive reads format {FORMAT}:"
                f" {remedy(path)}"
            )
        return Store(
            path=path,
            nonce=bytes.fromhex(manifest["nonce"]),
            arrays={
                name: Array(tuple(array["shape"]), array["dtype"])
                for name, array in manifest["arrays"].items()
            },
            shards=[shard_of(path, shard) for shard in manifest["shards"]],
            manifest=manifest,
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DamageError(
            f"damaged dataset: {file} is not readable ({error}): {remedy(path)}"
        ) from error


def read_nonce(path: Path) -> str:
    """The nonce of a store in hexadecimal digits, "" where there is none to read."""
    try:
        return str(json.loads((path / MANIFEST).read_text())["nonce"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def shard_of(folder: Path, entry: Mapping[str, Any]) -> Shard:
    """A shard of a manifest, the only place where its fields are named beside `entry_of`."""
    return Shard(
        path=folder / entry["file"],
        number=entry.get("number", 0),
        records=entry["records"],
        size=entry["bytes"],
        checksum=entry.get("xxh3_128", ""),
    )


def entry_of(shard: Shard) -> dict[str, Any]:
    """What a manifest says of a shard."""
    return {
        "file": shard.path.name,
        "number": shard.number,
        "records": shard.records,
        "bytes": shard.size,
        "xxh3_128": shard.checksum,
    }


def check_shards(store: Store, mend: str) -> None:
    """Checks that every shard is there, of its size, and begins and ends with its own records.

    Args:
      store: To check.
      mend: What to do where it is damaged, for the message.

    Raises:
      DamageError: A shard fails; the text names it.
    """
    for shard in store.shards:
        found = fault(store, shard)
        if found:
            raise DamageError(f"damaged dataset: {shard.path} {found}: {mend}")


def fault(store: Store, shard: Shard) -> str:
    """What is wrong with a shard, found without reading all of it; "" where nothing is."""
    try:
        size = shard.path.stat().st_size
    except OSError:
        return "is missing"
    if size != shard.size:
        return f"has {size} bytes, its manifest says {shard.size} bytes"
    if not store.nonce:
        return ""
    try:
        reader = open_shard(shard)
        places = sorted({0, shard.records - 1})
        try:
            count = reader.num_records()
            if count != shard.records:
                return f"has {count} records, its manifest says {shard.records} records"
            found = [bytes(array_bytes(record, RECORD_ID)) for record in reader.read(places)]
        finally:
            reader.close()
    except READ_ERRORS as error:
        return f"cannot be read ({_first_line(error)})"
    return next(
        (
            text
            for place, own in zip(places, found, strict=True)
            if (text := foreign(store, shard, place, own))
        ),
        "",
    )


def foreign(store: Store, shard: Shard, place: int, found: bytes) -> str:
    """Whose record was found at a place of a shard, by its id; "" where it is the right one."""
    if found == record_id(store.nonce, shard.number, place):
        return ""
    if len(found) != RECORD_ID_BYTES or found[:NONCE_BYTES] != store.nonce:
        return "is a file of another store"
    number, other = struct.unpack("<II", found[NONCE_BYTES:])
    names = [other.path.name for other in store.shards if other.number == number]
    return f"has record {other} of {names[0] if names else f'shard {number}'} as its record {place}"


def open_shard(shard: Shard) -> ArrayRecordReader:
    """A reader of a shard, for one thread."""
    return ArrayRecordReader(
        str(shard.path), _READER_OPTIONS, file_reader_buffer_size=_READER_BUFFER
    )


def read_index(store: Store) -> pa.Table:
    """A row for every image that was asked for, in order.

    Returns:
      "record", the place of its record in the store; or null, and why in "reason" and "detail".
      Where the images tell what else is known of a frame, also the columns of
      `frames.entries_table`.

    Raises:
      DamageError: The file is not what the manifest says.
    """
    file = store.path / INDEX
    if not file.exists() or checksum(file) != store.manifest["index"]["xxh3_128"]:
        state = "is not what its manifest says" if file.exists() else "is missing"
        raise DamageError(f"damaged dataset: {file} {state}: {remedy(store.path)}")
    return pq.read_table(file)


def verify(stores: Sequence[Store]) -> Iterator[tuple[Store, Shard]]:
    """Compares all bytes of all shards with their checksums.

    Yields:
      The shards that differ or are missing.
    """
    shards = [(store, shard) for store in stores for shard in store.shards if shard.checksum]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda pair: _found_checksum(pair[1].path), shards)
        for (store, shard), digest in zip(shards, found, strict=True):
            if digest != shard.checksum:
                yield store, shard


def _found_checksum(path: Path) -> str:
    return checksum(path) if path.is_file() else ""


def checksum(path: Path) -> str:
    """The XXH3 of a file's bytes, 32 hexadecimal digits as `xxhsum -H2` prints them.

    It finds a changed file as SHA-256 does, unless somebody meant to deceive, in a sixth of the
    time.
    """
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return xxhash.xxh3_128_hexdigest(b"")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return xxhash.xxh3_128_hexdigest(content)


def array_of(array: np.ndarray) -> Array:
    """What a manifest says of an array."""
    return Array(array.shape, array.dtype.name)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
