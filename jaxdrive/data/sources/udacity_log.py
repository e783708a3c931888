"""The log of a Udacity recording, `driving_log.csv`, as a table of texts.

Logs of all origins are read: with or without a row of names, with spaces, with paths of any system.
What the texts mean is left to `udacity.py`.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from jaxdrive.data.sources.folders import refuse
from jaxdrive.errors import UserError

CAMERAS = ("center", "left", "right")
# The speed is in miles an hour.
LABELS = ("steering", "throttle", "brake", "speed")
COLUMNS = (*CAMERAS, *LABELS)

_SCHEMA = pa.schema([("row", pa.int32()), *((name, pa.string()) for name in COLUMNS)])
# Rows that are Python's at a time, not Arrow's, which takes a quarter of the memory.
_CHUNK = 20_000


def read_log(log: Path) -> pa.Table:
    """The rows of a log in its order; a row of column names at its top says what stands where.

    Returns:
      "row", its line in the file from 1, and the texts by column of `COLUMNS` without spaces around
      them, null where the row ends before.

    Raises:
      UserError: It cannot be read, is no table or lacks a column.
    """
    chunks = [pa.Table.from_batches([], _SCHEMA)]
    rows: list[dict[str, object]] = []
    for row in _rows(log):
        rows.append(row)
        if len(rows) == _CHUNK:
            chunks.append(pa.Table.from_pylist(rows, _SCHEMA))
            rows = []
    return pa.concat_tables([*chunks, pa.Table.from_pylist(rows, _SCHEMA)])


def _rows(log: Path) -> Iterator[dict[str, object]]:
    columns: Sequence[str] | None = None
    try:
        with log.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file)
            for texts in reader:
                texts = [text.strip() for text in texts]
                if len(texts) < 2 and not any(texts):
                    # An empty line is no row.
                    continue
                if columns is None:
                    columns = COLUMNS
                    if "steering" in map(str.lower, texts):
                        columns = _named(log, texts)
                        continue
                yield {"row": reader.line_num, **dict(zip(columns, texts, strict=False))}
    except OSError as error:
        refuse(error)
    except csv.Error as error:
        raise UserError(
            f"{log}, row {reader.line_num}: this is no table of texts with commas between them"
            f" ({error}). Mend it, or remove it from the recordings"
        ) from error


def _named(log: Path, texts: Sequence[str]) -> Sequence[str]:
    columns = [text.lower() for text in texts]
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise UserError(
            f"{log} has no column {missing[0]!r}: its first row names {', '.join(columns)}."
            f" Name its columns {', '.join(COLUMNS)}; what the car did not record may be 0"
            " throughout, where no head and no config.scalars reads it"
        )
    return columns
