"""Rows of a recording that no frame can be made of: they end the work, or are counted and listed.

Readers say what they cannot read; labels that no recording can have are found here, for every
source. Frames and bad rows add up to what was recorded.
"""

import collections
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxdrive.data.frames import LABEL, BadRow, Session
from jaxdrive.errors import UserError

NO_NUMBER = "label is no number"
OUT_OF_RANGE = "label out of range"
DUPLICATE = "duplicate"

# What labels mean in every recording; others only have to be finite, as float32 too.
_RANGES = {"steering": (-1.0, 1.0), "throttle": (0.0, 1.0), "brake": (0.0, 1.0)}
_LARGEST = float(np.finfo(np.float32).max)


class BadRowError(Exception):
    """Why no frame can be made: `BadRow.reason` and `BadRow.detail`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def refuse_bad(session: Session, rows: pa.Table) -> None:
    """Refuses a session with a bad row.

    Args:
      session: For the message.
      rows: Its rows, see `with_label_faults`.

    Raises:
      UserError: A row has a "reason".
    """
    bad = rows.filter(rows["reason"].is_valid()).slice(0, 1).to_pylist()
    if bad:
        raise UserError(
            f"{_place(session)}{_told(_bad_row(bad[0]))}. Mend or remove that row, or leave out"
            " what is bad with --config.data.on_bad=skip"
        )


def with_label_faults(rows: pa.Table) -> pa.Table:
    """Rows with a reason and a detail also where a label is one that no recording can have.

    Args:
      rows: Columns as `frames.entries_table` gives them; others stay as they are.
    """
    good = rows["reason"].is_null().to_numpy()
    faults: dict[int, tuple[str, str]] = {}
    for name in (column for column in rows.column_names if column.startswith(LABEL)):
        values = rows[name].to_numpy()
        low, high = _RANGES.get(name.removeprefix(LABEL), (-_LARGEST, _LARGEST))
        wrong = good & ~((low <= values) & (values <= high))
        for row in np.flatnonzero(wrong).tolist():
            faults.setdefault(row, _fault(name.removeprefix(LABEL), float(values[row])))
    if not faults:
        return rows
    mask = np.zeros(rows.num_rows, bool)
    mask[list(faults)] = True
    texts = zip(*(faults[row] for row in sorted(faults)), strict=True)
    for name, new in zip(("reason", "detail"), texts, strict=True):
        rows = replaced(rows, name, mask, pa.array(new, pa.string()))
    return rows


def replaced(rows: pa.Table, name: str, mask: np.ndarray, values: pa.Array) -> pa.Table:
    """Rows with other values of a column where a mask is true: one value for each such row."""
    column = rows[name].combine_chunks()
    new = pc.replace_with_mask(column, pa.array(mask), values)
    return rows.set_column(rows.column_names.index(name), name, new)


def bad_rows_of(rows: pa.Table) -> list[BadRow]:
    """The bad rows among rows, in order."""
    return [_bad_row(row) for row in rows.filter(rows["reason"].is_valid()).to_pylist()]


def _bad_row(row: Mapping[str, Any]) -> BadRow:
    return BadRow(row["origin"], row["reason"], row["detail"])


def _fault(name: str, value: float) -> tuple[str, str]:
    """Why a label is one that no recording can have."""
    if not math.isfinite(value):
        return NO_NUMBER, f"{name} is {value}"
    low, high = _RANGES.get(name, (-_LARGEST, _LARGEST))
    return OUT_OF_RANGE, f"{name} is {value}, outside {low:g} to {high:g}"


def nothing_left(sessions: Sequence[Session], bad: Mapping[str, Any]) -> str:
    """What to say where sessions hold no usable frame at all."""
    told = "it is empty" if len(sessions) == 1 else "they are empty"
    if bad["count"]:
        told = f"{counts(bad)}. The first: {_told(BadRow(**bad['list'][0]))}"
    who = f"session {sessions[0].name} holds no usable frame"
    if len(sessions) > 1:
        who = f"none of the {len(sessions)} sessions holds a usable frame"
    return f"{_place(sessions[0])}{who}: {told}. Mend the recordings, or name others"


def report(bad: Iterable[BadRow]) -> dict[str, Any]:
    """What the manifest says of bad rows.

    Returns:
      {"count", "reasons": {reason: count, most frequent first}, "list": [{"origin", "reason",
      "detail"}]}.
    """
    rows = [vars(row) for row in bad]
    reasons = collections.Counter(row["reason"] for row in rows)
    return {"count": len(rows), "reasons": dict(reasons.most_common()), "list": rows}


def counts(bad_rows: Mapping[str, Any]) -> str:
    """A line of text such as "5 are bad: image missing (3), image empty (2)"."""
    reasons = ", ".join(f"{reason} ({count:,})" for reason, count in bad_rows["reasons"].items())
    return f"{bad_rows['count']:,} are bad: {reasons}"


def _told(bad: BadRow) -> str:
    return f"{bad.origin}: {bad.reason} ({bad.detail})"


def _place(session: Session) -> str:
    return f"in {session.place}: " if session.place else ""
