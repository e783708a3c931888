"""Which frames are for training, for validation and for the final test: never by frame.

Neighbouring frames are near copies of each other, so a split by frame would test on what was
trained on. Sessions go to one split whole; or, since a long recording is one session, in blocks of
time, with a gap between blocks of different splits. A hash of the session's name, and of the
block's number, decides, so what is recorded later never moves an earlier frame. Frames are split
before there are views of them (`views.py`), so no frame is in two splits in another view.
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
      block_seconds: Length of a block of session time; 0 = whole sessions.
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
        return _drawn(session.name, rule)
    first, block, last = (
        math.floor((time + shift) / rule.block_seconds)
        for shift in (-rule.gap_seconds, 0.0, rule.gap_seconds)
    )
    split = _block_split(session, block, rule)
    # Before the first block there is nothing to keep away from.
    near = range(max(first, 0), last + 1)
    return split if all(_block_split(session, b, rule) == split for b in near) else GAP


def _block_split(session: Session, block: int, rule: SplitRule) -> str:
    return _drawn(f"{session.name}, block {block}", rule)


@functools.cache
def _drawn(name: str, rule: SplitRule) -> str:
    """A split drawn by a hash of `name`, by the shares of the rule."""
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    if share < rule.test:
        return "test"
    return "validation" if share < rule.test + rule.validation else "train"
