"""The files of a Donkeycar tub of version 2, as a table of its records.

What the values mean is left to `donkey.py`.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from jaxdrive.data.sources.folders import refuse
from jaxdrive.errors import UserError

MANIFEST = "manifest.json"

# Column of the table, and the record's name for it. Values are kept as text: they may be anything.
_TEXTS = {
    "image": "cam/image_array",
    "angle": "user/angle",
    "throttle": "user/throttle",
    "mode": "user/mode",
    "session": "_session_id",
}
_NUMBERS = {"index": "_index", "timestamp_ms": "_timestamp_ms"}
_SCHEMA = pa.schema(
    [
        ("row", pa.int32()),
        ("catalog", pa.string()),
        *((name, pa.int64()) for name in _NUMBERS),
        *((name, pa.string()) for name in _TEXTS),
        ("deleted", pa.bool_()),
        # What makes a row no record at all; null where it is one.
        ("fault", pa.string()),
    ]
)
# The manifest's lines: inputs, types, metadata, the sessions made, and where the records are.
_LINES = 5


def only_tubs(folders: Sequence[Path]) -> list[Path]:
    """Those of the folders with a manifest that hold a tub of version 2.

    Raises:
      UserError: None does.
    """
    found = [folder for folder in folders if _catalogs(folder / MANIFEST) is not None]
    if not found:
        raise UserError(
            f"{folders[0] / MANIFEST} is not that of a tub: it should hold {_LINES} lines of JSON,"
            " the last of which names the catalogs. Older tubs are brought to this form by"
            " Donkeycar's convert_to_tub_v2.py; or name another with --config.data.path=DIR"
        )
    return found


def read_tub(folder: Path) -> pa.Table:
    """The records of a tub in their order.

    Returns:
      "row", the line in its "catalog" from 1; "index"; "timestamp_ms"; the texts "image", "angle",
      "throttle", "mode" and "session"; "deleted"; and "fault", why a line is no record. What a
      record does not have is null.

    Raises:
      UserError: A file cannot be read.
    """
    about = _catalogs(folder / MANIFEST)
    assert about is not None
    deleted = set(about.get("deleted_indexes", ()))
    rows = [row for path in about["paths"] for row in _rows(folder, path, deleted)]
    return pa.Table.from_pylist(rows, _SCHEMA)


def _catalogs(manifest: Path) -> dict[str, Any] | None:
    """The manifest's last line; None where it is no tub's."""
    try:
        lines = manifest.read_text(errors="replace").splitlines()
    except OSError as error:
        refuse(error)
    try:
        about = [json.loads(line) for line in lines]
    except ValueError:
        return None
    if len(about) < _LINES or not isinstance(about[-1], dict) or "paths" not in about[-1]:
        return None
    catalogs: dict[str, Any] = about[-1]
    return catalogs


def _rows(folder: Path, catalog: str, deleted: set[int]) -> Iterator[dict[str, Any]]:
    session = None
    try:
        with (folder / catalog).open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    row = {"row": number, "catalog": catalog, **_row(line, deleted)}
                    # What is no record belongs to the session around it.
                    session = session if "fault" in row else row["session"]
                    yield {**row, "session": session}
    except FileNotFoundError:
        yield {"row": 0, "catalog": catalog, "deleted": False, "fault": "catalog missing"}
    except OSError as error:
        refuse(error)


def _row(line: str, deleted: set[int]) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        return {"deleted": False, "fault": "row is no JSON"}
    numbers = {name: record.get(key) for name, key in _NUMBERS.items()}
    if not isinstance(numbers["index"], int):
        return {"deleted": False, "fault": "row has no _index"}
    if not isinstance(numbers["timestamp_ms"], int):
        numbers["timestamp_ms"] = None
    texts = {
        name: None if record.get(key) is None else str(record[key]) for name, key in _TEXTS.items()
    }
    return {**numbers, **texts, "deleted": numbers["index"] in deleted}
