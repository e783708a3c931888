"""Which frames are for training, for validation and for the final test: never by frame.

Neighbouring frames are near copies of each other, so a split by frame would test on what was
trained on. Frames are split in blocks: whole sessions, or, since a long recording is one session,
blocks of time, with a gap between blocks of different splits. A block is known by its time: the
moment when the session began, or the block's number on the clock that all sessions share; where
nothing tells the time, the session's name stands for it. So what is recorded later never moves an
earlier frame, nor does another name of a recording; nor, in blocks of time, a copy of a part of it,
or its being cut into several. Frames are split before there are views of them (`views.py`), so no
frame is in two splits in another view.

By shares, a hash of the block's time decides. By folds, blocks are numbered in the order of time
and dealt to the folds in turn: fold K is the test split, the next one is the validation split.
"""

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdrive.data.frames import Session
from jaxdrive.errors import UserError

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
      folds: Number of folds, which replace the shares; 0 = none.
      fold: Which of them is the test split, from 0.
    """

    block_seconds: float
    gap_seconds: float
    validation: float
    test: float
    folds: int = 0
    fold: int = 0


def rule_of(data: Mapping[str, Any]) -> SplitRule:
    """The rule of `config.data`."""
    return SplitRule(**data["split"])


def split_settings(data: Mapping[str, Any]) -> dict[str, Any]:
    """What of `config.data.split` decides splits, for a fingerprint."""
    settings = dict(data["split"])
    # By shares as before there were folds: datasets of that time keep their fingerprint.
    unused = ("validation", "test") if settings.get("folds") else ("folds", "fold")
    return {name: value for name, value in settings.items() if name not in unused}


class _Block(NamedTuple):
    """A block; blocks sort by their time. Clocks are "", shared by all sessions, or a session's."""

    clock: str
    number: float


def splits_of(
    sessions: Sequence[Session], times: Sequence[np.ndarray], rule: SplitRule
) -> list[np.ndarray]:
    """By session, the split of each of its frames, or `GAP`.

    Args:
      sessions: Of a dataset, all of them. Where a source decided a session's split, that counts.
      times: By session, seconds of its frames since its start, float64 [n].
      rule: For sessions whose split is not decided.

    Raises:
      UserError: There are fewer blocks than folds, or every session's split is decided already.
    """
    spans = [
        _spans(session, own, rule) if session.split is None else None
        for session, own in zip(sessions, times, strict=True)
    ]
    clocks = [_clock(session) for session in sessions]
    by_fold: Mapping[_Block, str] = {}
    if rule.folds:
        by_fold = _folds(
            {
                _Block(clock, number)
                for clock, found in zip(clocks, spans, strict=True)
                if found is not None
                for number in np.unique(found[:, 1]).tolist()
            },
            rule,
        )

    def split_of(block: _Block) -> str | None:
        return by_fold.get(block) if rule.folds else _by_share(_text(block, rule), rule)

    return [
        np.full(len(own), session.split)
        if found is None
        else _splits(found, functools.partial(_Block, clock), split_of)
        for session, own, clock, found in zip(sessions, times, clocks, spans, strict=True)
    ]


def _clock(session: Session) -> str:
    """Whose clock numbers the blocks of a session."""
    return "" if session.start is not None else f"{session.name}, "


def _spans(session: Session, times: np.ndarray, rule: SplitRule) -> np.ndarray:
    """Numbers of the blocks from a gap before each frame, at the frame, and a gap after it.

    Returns:
      float64 [n, 3].
    """
    if not rule.block_seconds:
        return np.full((len(times), 3), 0.0 if session.start is None else session.start)
    moments = times
    if session.start is not None:
        # To the millisecond: a recording that is cut has another start, and rounds otherwise.
        moments = np.round(session.start + times, 3)
    shifts = (-rule.gap_seconds, 0.0, rule.gap_seconds)
    # Adding 0 makes -0 a plain 0.
    spans = np.stack([np.floor((moments + s) / rule.block_seconds) for s in shifts], 1) + 0.0
    if session.start is None:
        # Before the session's first block there is nothing to keep away from.
        spans[:, 0] = np.minimum(spans[:, 1], np.maximum(spans[:, 0], 0))
    return spans


def _splits(spans: np.ndarray, block_of: Any, split_of: Any) -> np.ndarray:
    """The split of every frame, or `GAP` where a block of its span has another one."""
    if not len(spans):
        return np.array([], object)
    # Frames follow each other, so long runs of them have the same span.
    starts = np.flatnonzero(np.append(True, (spans[1:] != spans[:-1]).any(axis=1)))
    found = []
    for first, block, last in spans[starts].tolist():
        near = {split_of(block_of(number)) for number in np.arange(first, last + 1).tolist()}
        own = split_of(block_of(block))
        found.append(own if near <= {own, None} else GAP)
    return np.repeat(np.asarray(found, object), np.diff(np.append(starts, len(spans))))


def _folds(blocks: set[_Block], rule: SplitRule) -> dict[_Block, str]:
    """By block that holds frames, its split."""
    if len(blocks) < rule.folds:
        raise UserError(
            f"config.data.split.folds={rule.folds}: the recordings have {len(blocks)} blocks to"
            " deal to folds, not counting what their source splits itself. Lower"
            " config.data.split.folds (`folds`: --folds) or config.data.split.block_seconds (0 ="
            " whole sessions), or `train` with config.data.split.folds=0, which splits by shares"
        )
    names = {rule.fold: "test", (rule.fold + 1) % rule.folds: "validation"}
    folds = itertools.cycle(range(rule.folds))
    return {
        block: names.get(fold, "train") for block, fold in zip(sorted(blocks), folds, strict=False)
    }


def _text(block: _Block, rule: SplitRule) -> str:
    """What is hashed of a block."""
    if rule.block_seconds:
        return f"{block.clock}block {block.number:.0f}"
    return block.clock.removesuffix(", ") if block.clock else f"began {block.number:.3f}"


@functools.cache
def _by_share(text: str, rule: SplitRule) -> str:
    """A split drawn by a hash of `text`, by the shares of the rule."""
    share = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
    if share < rule.test:
        return "test"
    return "validation" if share < rule.test + rule.validation else "train"
