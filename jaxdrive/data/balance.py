"""Which records a head draws: label table -> bins -> plan(head, position) -> record ids.

A plan is a pure function of seed, table and position, so training resumes, spreads over processes
and can be replayed without any state or buffer. Pure numpy, no reading: pictures are left to
`loader.py`.

Modes:
  none: every training record once a pass, in random order.
  v2: equal draws from every non-empty bin of the head's own target, after the second balancing of
    the published three-head trainer.
"""

import dataclasses
import functools
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdrive.errors import UserError
from jaxdrive.heads import Head, bin_index, bin_texts, targets

MODES = ("none", "v2")


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """The order in which one head draws records.

    Draws are numbered from 0 on. Every aligned run of n draws, n being the number of bins, holds
    each bin once; inside a bin, passes over its records are permutations.

    Attributes:
      bins: The record ids of every non-empty bin, each int32 [any].
      seed: The run's seed.
      stream: Tells this head's random numbers from another's.
      batch_size: Draws a batch.
    """

    bins: Sequence[np.ndarray]
    seed: int
    stream: int
    batch_size: int

    def __post_init__(self) -> None:
        # One pass is drawn from at a time in each bin, and prefetching threads may still read
        # from the one before.
        cache = functools.lru_cache(maxsize=4 * len(self.bins))
        object.__setattr__(self, "_pass", cache(self._shuffle))

    def _shuffle(self, bin_number: int, number: int) -> np.ndarray:
        generator = np.random.default_rng((self.seed, self.stream, bin_number, number))
        return generator.permutation(self.bins[bin_number])

    def _bins_in_run(self, run: int) -> np.ndarray:
        # Without a shuffle the rows of one device would always come from the same bins.
        generator = np.random.default_rng((self.seed, self.stream, len(self.bins), run))
        return generator.permutation(len(self.bins))

    def draw(self, position: int) -> np.ndarray:
        """The record ids of batch `position` (0, 1, ...): int32 [batch_size]."""
        draws = np.arange(position * self.batch_size, (position + 1) * self.batch_size)
        runs, slots = np.divmod(draws, len(self.bins))
        if len(self.bins) == 1:
            bins = slots
        else:
            order = np.stack([self._bins_in_run(run) for run in range(runs[0], runs[-1] + 1)])
            bins = order[runs - runs[0], slots]
        records = np.empty(self.batch_size, np.int32)
        for bin_number in np.unique(bins):
            here = np.flatnonzero(bins == bin_number)
            passes, places = np.divmod(runs[here], len(self.bins[bin_number]))
            for number in np.unique(passes):
                shuffled = self._pass(int(bin_number), int(number))  # type: ignore[attr-defined]
                records[here[passes == number]] = shuffled[places[passes == number]]
        return records


def check_mode(mode: str) -> None:
    """Raises UserError unless `mode` is one of `MODES`."""
    if mode not in MODES:
        raise UserError(f"config.balance={mode!r} is not known: one of {', '.join(MODES)}")


def make_plan(
    head: Head,
    labels: np.ndarray,
    cameras: np.ndarray,
    ids: np.ndarray,
    *,
    mode: str,
    seed: int,
    batch_size: int,
) -> Plan:
    """The plan of one head.

    Args:
      head: Its bins divide the target.
      labels: The head's label of every record in the table, as recorded, float32 [N].
      cameras: The camera that saw every record, [N].
      ids: The records to draw from, int32 [n].
      mode: One of `MODES`.
      seed: The run's seed.
      batch_size: Draws a batch.

    Raises:
      UserError: The mode is unknown or there is nothing to draw from.
    """
    check_mode(mode)
    if not len(ids):
        raise UserError("the dataset has no training frames: record or name more sessions")
    if mode == "none":
        bins = [ids]
    else:
        index = bin_index(head.bins, targets(head, labels[ids], cameras[ids]))
        bins = [ids[index == number] for number in np.unique(index)]
    stream = zlib.crc32(head.name.encode())
    return Plan(bins=bins, seed=seed, stream=stream, batch_size=batch_size)


def make_plans(
    heads: Mapping[str, Head],
    labels: Mapping[str, np.ndarray],
    cameras: np.ndarray,
    ids: np.ndarray,
    *,
    mode: str,
    seed: int,
    batch_size: int,
) -> dict[str, Plan]:
    """The plan of every head, by its name; see `make_plan`.

    Raises:
      UserError: As `make_plan`, and when the dataset does not have a head's label.
    """
    plans = {}
    for name, head in heads.items():
        if head.label not in labels:
            raise UserError(
                f"head {name} learns the label {head.label!r}, which the dataset does not have:"
                f" it has {', '.join(sorted(labels))}. Change config.heads.{name}.label"
            )
        plans[name] = make_plan(
            head, labels[head.label], cameras, ids, mode=mode, seed=seed, batch_size=batch_size
        )
    return plans


def report(
    heads: Mapping[str, Head],
    labels: Mapping[str, np.ndarray],
    cameras: np.ndarray,
    ids: np.ndarray,
    *,
    mode: str,
) -> dict[str, Any]:
    """What there is in every bin and what the plan makes of it.

    Returns:
      {"mode", "heads": {head: {"label", "unit", "bins": [{"text", "low", "high", "frames",
      "planned_share", "repeats_per_pass"}]}}}. low and high are in the label's unit;
      repeats_per_pass says how often a frame of the bin is drawn while as many frames are drawn as
      there are, None for an empty bin.
    """
    result: dict[str, Any] = {"mode": mode, "heads": {}}
    for name, head in heads.items():
        index = bin_index(head.bins, targets(head, labels[head.label][ids], cameras[ids]))
        frames = np.bincount(index, minlength=len(head.bins))
        share = frames / frames.sum() if mode == "none" else (frames > 0) / (frames > 0).sum()
        result["heads"][name] = {
            "label": head.label,
            "unit": head.unit,
            "bins": [
                {
                    "text": text,
                    "low": low * head.scale,
                    "high": high * head.scale,
                    "frames": int(count),
                    "planned_share": float(part),
                    "repeats_per_pass": float(part * frames.sum() / count) if count else None,
                }
                for text, (low, high), count, part in zip(
                    bin_texts(head), head.bins.spans, frames, share, strict=True
                )
            ],
        }
    return result
