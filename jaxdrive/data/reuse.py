"""Sessions that an earlier dataset holds already: linked from there instead of read again.

A recording that grows by a run is another dataset, and only that run is new in it. Both datasets
stay whole: a shard is one file with a name in each (a copy where the disk has no links).
"""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jaxdrive.data.frames import BadRow, Session
from jaxdrive.data.parts import Part, checksum, file_hash, keep_part, remove_parts, shard_file
from jaxdrive.data.shards import MANIFEST, SCHEMA_VERSION, TABLE


@dataclasses.dataclass(frozen=True)
class Held:
    """A session of an earlier dataset.

    Attributes:
      folder: Of the dataset.
      shards: As its manifest names them.
      bad: Rows of which no frame could be made.
      first_record: Where its rows begin in the dataset's table.
      records: How many there are.
    """

    folder: Path
    shards: Sequence[dict[str, Any]]
    bad: Sequence[BadRow]
    first_record: int
    records: int


def content_of(session: Session, settings: Mapping[str, Any]) -> str:
    """What stands for a session's frames in a manifest: 16 hexadecimal digits, or "" if unknown.

    Args:
      session: Its name, its split and what its source says of it count.
      settings: What else decides frames and table: fit, split rule, what becomes of bad rows.
    """
    if not session.content:
        return ""
    about = [session.name, session.split, session.content, settings]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def held_sessions(datasets: Path) -> dict[str, Held]:
    """By content, the sessions of the datasets in a folder whose files are there."""
    held: dict[str, Held] = {}
    for manifest_file in sorted(datasets.glob(f"*/{MANIFEST}")):
        try:
            manifest = json.loads(manifest_file.read_text())
        except (OSError, ValueError):
            # Whoever opens that dataset is told.
            continue
        if not isinstance(manifest, dict) or manifest.get("schema_version") != SCHEMA_VERSION:
            continue
        table = manifest_file.with_name(TABLE)
        if table.exists() and file_hash(table) == manifest["table"]["sha256"]:
            held |= _held(manifest_file.parent, manifest)
    return held


def _held(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Held]:
    found = {}
    shard = record = bad = 0
    for session in manifest["sessions"]:
        own = manifest["shards"][shard : shard + session["shards"]]
        rows = manifest["bad_rows"]["list"][bad : bad + session["bad_rows"]]
        if session["content"] and all(_is_whole(folder, entry) for entry in own):
            left_out = [BadRow(**row) for row in rows]
            found[session["content"]] = Held(folder, own, left_out, record, session["records"])
        shard += session["shards"]
        record += session["records"]
        bad += session["bad_rows"]
    return found


def _is_whole(folder: Path, shard: Mapping[str, Any]) -> bool:
    file = folder / shard["file"]
    return file.exists() and file.stat().st_size == shard["bytes"]


def reuse(folder: Path, session_index: int, pieces: int, held: Held) -> bool:
    """Puts a session of an earlier dataset into `folder`, as the first of its pieces' parts.

    Its shards are compared with their checksums first: damage would go on from dataset to dataset.

    Parts of it that an interrupted `prepare` left there go: its frames would come twice.

    Args:
      folder: Where parts are collected.
      session_index: Place of the session in the new dataset.
      pieces: Into how many the session is divided; all but the first are left empty.
      held: The session in the earlier dataset.

    Returns:
      Whether it was put there; False where a shard is damaged or has no checksum.
    """
    for shard in held.shards:
        if shard.get("xxh3_128") != checksum(held.folder / shard["file"]):
            return False
    remove_parts(folder, session_index)
    shards = []
    for number, shard in enumerate(held.shards):
        file = shard_file(folder, session_index, 0, number)
        try:
            os.link(held.folder / shard["file"], file)
        except OSError:
            shutil.copyfile(held.folder / shard["file"], file)
        shards.append({**shard, "file": file.name})
    table: pa.Table = pq.read_table(held.folder / TABLE).slice(held.first_record, held.records)
    for piece in range(1, pieces):
        keep_part(folder, session_index, piece, Part(None, [], []))
    part = Part(table if held.records else None, shards, held.bad)
    keep_part(folder, session_index, 0, part)
    return True
