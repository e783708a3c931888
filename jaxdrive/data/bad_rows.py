"""Rows of a recording that no frame can be made of: they end the work, or are counted and listed.

A reader yields what it cannot read as a BadRow; labels that no recording can have are found here,
for every source alike. Nothing is left out without being told: frames and bad rows add up to what
was recorded.
"""

import collections
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxdrive.data.frames import BadRow, Frame, Session
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


def sift(session: Session, found: list[BadRow], *, on_bad: str) -> Iterator[Frame]:
    """The usable frames of a session, in its order.

    Args:
      session: What to read.
      found: Receives the bad rows.
      on_bad: "skip" goes on after a bad row, "fail" does not.

    Raises:
      UserError: A row is bad and `on_bad` is "fail".
    """
    for item in session.read():
        bad = item if isinstance(item, BadRow) else _bad_label(item)
        if bad is None:
            assert isinstance(item, Frame)
            yield item
        elif on_bad == "fail":
            raise UserError(
                f"{_place(session)}{_told(bad)}. Mend or remove that row, or leave out what is bad"
                " with --config.data.on_bad=skip"
            )
        else:
            found.append(bad)


def _bad_label(frame: Frame) -> BadRow | None:
    for name, value in frame.labels.items():
        low, high = _RANGES.get(name, (-_LARGEST, _LARGEST))
        if not math.isfinite(value):
            return BadRow(frame.origin, NO_NUMBER, f"{name} is {value}")
        if not low <= value <= high:
            detail = f"{name} is {value}, outside {low:g} to {high:g}"
            return BadRow(frame.origin, OUT_OF_RANGE, detail)
    return None


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
