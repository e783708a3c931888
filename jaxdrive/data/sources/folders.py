"""What readers of recorded folders share: finding them, their rows as tables, their pieces."""

import hashlib
import itertools
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxdrive.errors import UserError

# Column of the rows: where the row's picture was seen before, null where it was not.
SEEN_IN = "seen_in"

# Images of a piece in a long session, and in one so short that it would not keep all cores busy;
# how many pieces are short at most, and how many there are at most.
_PIECE_IMAGES, _SHORT_PIECE_IMAGES = 750, 250
_SHORT_PIECES, _PIECES = 4, 32
_READABLE_BY_ALL = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH


def folders_with(config: Mapping[str, Any], log: str, *, images: str, recorder: str) -> list[Path]:
    """The folders at or below `config.data.path` that hold a recording's log, in order.

    Args:
      config: `config.data`.
      log: Name of the file that makes a folder a recording.
      images: Name of the folder beside it with its pictures.
      recorder: What makes such recordings, for messages.

    Raises:
      UserError: There is none, or a folder cannot be read.
    """
    path = config["path"]
    if not path:
        raise UserError(
            f"config.data.source={config['source']!r} needs a recording: name the folder that holds"
            f" {log} and {images}, or folders with them, with --config.data.path=DIR"
        )
    if not os.path.isdir(path):
        state = "it is a file" if os.path.exists(path) else "there is no such folder"
        raise UserError(
            f"no recording in {path}: {state}. Name one with --config.data.path=DIR, or a dataset"
            " that is prepared with --config.data.prepared=DIR"
        )
    found, seen = [], set()
    for folder, below, files in os.walk(path, onerror=refuse, followlinks=True):
        real = os.path.realpath(folder)
        # Pictures are many, and no place for recordings.
        below[:] = sorted(name for name in below if name != images)
        if real in seen:
            # A link back: frames that came twice could come in two splits.
            below.clear()
            continue
        seen.add(real)
        if log in files:
            found.append(Path(folder))
    if not found:
        raise UserError(
            f"no recording in {path}: neither it nor a folder below it holds a {log}. Name the"
            f" folder that {recorder} recorded to with --config.data.path=DIR"
        )
    return found


def file_digest(file: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        refuse(error)


class File(NamedTuple):
    """What is known of a file without opening it."""

    size: int
    readable: bool


class Recording(NamedTuple):
    """A folder with a recording, its pictures unopened.

    Attributes:
      folder: Where it is.
      name: Its path below `config.data.path`.
      images: By name, its pictures.
      content: Hashes of the log's files, and of names and sizes of the pictures.
    """

    folder: Path
    name: str
    images: Mapping[str, File]
    content: Mapping[str, Any]


def files(folder: Path) -> dict[str, File]:
    """By name, the files in a folder; empty where there is none.

    Raises:
      UserError: The folder cannot be read.
    """
    try:
        if not folder.is_dir():
            return {}
        with os.scandir(folder) as entries:
            return {entry.name: _file(entry) for entry in entries if entry.is_file()}
    except OSError as error:
        refuse(error)


def _file(entry: os.DirEntry[str]) -> File:
    status = entry.stat()
    # What everybody may read needs no question to the system, which costs as much as the status.
    for_all = status.st_mode & _READABLE_BY_ALL == _READABLE_BY_ALL
    return File(status.st_size, for_all or os.access(entry.path, os.R_OK))


def files_hash(found: Mapping[str, File]) -> str:
    """A hash of the names and sizes of files, and of whether they may be read."""
    lines = [f"{name} {found[name].size} {found[name].readable}" for name in sorted(found)]
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def images_text(
    found: Mapping[str, File],
    names: Sequence[str],
    times: Sequence[int | None] = (),
    *,
    size: tuple[int, int] | None,
    version: int,
) -> str:
    """What decides the images that a session's good entries get, as `Session.images` has it.

    Images are not opened for it: names, sizes, and whether they may be read stand for them.

    Args:
      found: By name, the files that there are.
      names: Of the entries' images, in order.
      times: Of the entries, where names are the same in every recording.
      size: (height, width) that every image has to have.
      version: Of the reader.
    """
    missing = File(-1, readable=False)
    files = [found.get(name, missing) for name in names]
    lines = [f"{name} {size} {may}" for name, (size, may) in zip(names, files, strict=True)]
    lines += [str(time) for time in times]
    digest = hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
    return f"reader {version}, size {size}, {len(names)} images, {digest}"


def pieces(names: Sequence[str]) -> list[Sequence[str]]:
    """A session's images in parts for several processes; one, which may be empty, at least."""
    short = min(len(names) // _SHORT_PIECE_IMAGES, _SHORT_PIECES)
    count = int(np.clip(len(names) // _PIECE_IMAGES, max(short, 1), _PIECES))
    ends = [len(names) * part // count for part in range(count + 1)]
    return [names[start:end] for start, end in itertools.pairwise(ends)]


def row_dicts(rows: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows one after the other, by column name."""
    for batch in rows.to_batches(max_chunksize=1000):
        yield from batch.to_pylist()


def with_origins(
    rows: pa.Table, origins: Sequence[str], keys: Sequence[object | None], seen: dict[Any, str]
) -> pa.Table:
    """Rows with two more columns: their "origin", and in `SEEN_IN` where their image came before.

    Args:
      rows: Of one recording.
      origins: Where each row is, for messages.
      keys: What tells the image of each row from all others; None where nothing does.
      seen: By key, the origin of the first row with it: of the recordings before, and added to.

    Returns:
      The rows; `SEEN_IN` is null where an image is new.
    """
    first = [
        origin if key is None else seen.setdefault(key, origin)
        for origin, key in zip(origins, keys, strict=True)
    ]
    seen_in = [
        None if place == origin else place for place, origin in zip(first, origins, strict=True)
    ]
    return rows.append_column("origin", pa.array(origins, pa.string())).append_column(
        SEEN_IN, pa.array(seen_in, pa.string())
    )


def for_cameras(entries: pa.Table, cameras: Sequence[str]) -> pa.Table:
    """Entries of rows as entries of frames: one for each camera, which its origin names."""
    rows = entries.take(np.repeat(np.arange(entries.num_rows), len(cameras)))
    names = pa.array(list(cameras) * entries.num_rows, pa.string())
    origins = pc.binary_join_element_wise(rows["origin"], names, ", ")
    columns = rows.column_names
    return rows.set_column(columns.index("camera"), "camera", names).set_column(
        columns.index("origin"), "origin", origins
    )


def for_people(rows: pa.Table, *, session: str, hidden: Sequence[str]) -> pa.Table:
    """Rows as `Session.rows` has them: with their session, without the `hidden` columns."""
    told = [name for name in rows.column_names if name not in ("origin", SEEN_IN, *hidden)]
    return rows.select(["origin", *told]).add_column(
        0, "session", pa.array([session] * rows.num_rows, pa.string())
    )


def remedy(split: str) -> str:
    """What to do where a dataset of recordings has no frames of `split`."""
    if split == "train":
        return "lower config.data.split.validation and test, or add recordings"
    return (
        f"raise config.data.split.{split}, lower config.data.split.block_seconds (0 = whole"
        " sessions) or gap_seconds, or add recordings"
    )


def refuse(error: OSError) -> NoReturn:
    """Ends with what the system said of a file or folder.

    Raises:
      UserError: Always.
    """
    raise UserError(
        f"cannot read {error.filename}: {error.strerror}. Mend it, or name another recording with"
        " --config.data.path=DIR"
    ) from error
