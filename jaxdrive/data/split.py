"""Which frames are for training, for validation and for the final test: never by frame.

Neighbouring frames are near copies of each other, so a split by frame would test on what was
trained on. Sessions go to one split whole; or, since a long recording is one session, in blocks of
time, with a gap between blocks of different splits. A hash decides: of the moment when the session
began, or of the block's number on the clock that all sessions share; where nothing tells the time,
of the session's name. So what is recorded later never moves an earlier frame, nor does another name
of a recording; nor, in blocks, a copy of a part of it, or its being cut into several. Frames are
split before there are views of them (`views.py`), so no frame is in two splits in another view.
"""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Mapping
from typing import Any

from jaxdrive.data.frames import Session

SPLITS = ("train", "validation", "test")
# Frames too near to a block of another split: kept in the dataset, used by nobody.
GAP = "gap"


@dataclasses.dataclass(frozen=True)
class SplitRule:
    """How sessions are split that do not know their split.

    Attributes:
      block_seconds: Length of a block of time; 0 = whole sessions.
      gap_seconds: Frames nearer than this to a block of another split are in no split.
      validation: Share of blocks for validation.
      test: Share of blocks for the final test.
    """

    block_seconds: float
    gap_seconds: float
    validation: float
    test: float


def rule_of(data: Mapping[str, Any]) -> SplitRule:
    """The rule of `config.data`."""
    return SplitRule(**data["split"])


def split_of(session: Session, time: float, rule: SplitRule) -> str:
    """The split of a frame, or `GAP`.

    Args:
      session: Of the frame. Its own split counts, where its source decided one.
      time: Of the frame, seconds since the session's start.
      rule: For sessions that have none.
    """
    if session.split is not None:
        return session.split
    if not rule.block_seconds:
        began = session.name if session.start is None else f"began {session.start:.3f}"
        return _drawn(began, rule)
    clock, moment = "", time
    if session.start is None:
        clock = f"{session.name}, "
    else:
        # To the millisecond: a recording that is cut has another start, and rounds otherwise.
        moment = round(session.start + time, 3)
    first, block, last = (
        math.floor((moment + shift) / rule.block_seconds)
        for shift in (-rule.gap_seconds, 0.0, rule.gap_seconds)
    )
    if session.start is None:
        # Before the session's first block there is nothing to keep away from.
        first = min(block, max(first, 0))
    drawn = {b: _drawn(f"{clock}block {b}", rule) for b in range(first, last + 1)}
    return drawn[block] if len(set(drawn.values())) == 1 else GAP


@functools.cache
def _drawn(name: str, rule: SplitRule) -> str:
    """A split drawn by a hash of `name`, by the shares of the rule."""
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    if share < rule.test:
        return "test"
    return "validation" if share < rule.test + rule.validation else "train"
