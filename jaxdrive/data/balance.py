"""Which records or views a head draws: label table -> bins -> plan(head, position) -> their ids.

A plan is a pure function of seed, table and position, so training resumes, spreads over processes
and can be replayed without any state or buffer. Pure numpy, no reading: pictures are left to
`loader.py`, what a plan makes of the bins is told by `balance_report.py`. Where views are drawn
(`views.py`), each is drawn for itself, by the bin of its own label; all that is said of records
here is meant of views then.

Modes, of which v1 to v3 are those of the published three-head trainer:
  none: every training record once a pass, in random order.
  v1: equal draws from every non-empty combination of all heads' joint bins; the heads' batches are
    consecutive pieces of one plan.
  v2: equal draws from every non-empty bin of the head's own target; with a power below 1 less
    equal ones, with smoothing by how frequent near labels are together, with a limit no record is
    repeated too often.
  v3: v2's draws, and every head learns from every image.
  v4: v2's draws among bins; inside a bin, frames are weighted so that the other heads' targets come
    out as even as the data allows, see `joint.py`.
"""

import dataclasses
import functools
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdrive.bins import bin_index
from jaxdrive.data.draw_weights import Smoothing, copies_of, equal_bins, record_weights
from jaxdrive.data.joint import even_copies
from jaxdrive.data.views import targets_of
from jaxdrive.errors import UserError
from jaxdrive.heads import Head

MODES = ("none", "v1", "v2", "v3", "v4")
# Whose images a head learns from. "auto": in the published v1 and v3 a sample carries all labels,
# and v4 evens out the other heads' for the sake of their learning from it.
SUPERVISE = ("auto", "own", "all")
# Modes whose bins can be drawn less equally.
WEIGHTED = ("v2", "v3")
_AUTO = {"none": "own", "v1": "all", "v2": "own", "v3": "all", "v4": "all"}

Bins = Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Balance:
    """How heads are balanced.

    Attributes:
      mode: One of `MODES`.
      power: Of v2 and v3: from 0, frames as recorded, to 1, equal bins; see `draw_weights.py`.
      limit: Of v2 and v3: no record is drawn more than so many times as often as an average one;
        0 = no limit.
      smoothing: Of v2 and v3: standard deviation, in the label's unit, of the Gaussian by which
        counts of bins are smoothed; 0 = none.
    """

    mode: str
    power: float = 1.0
    limit: float = 0.0
    smoothing: float = 0.0

    def __str__(self) -> str:
        """The mode, with the numbers that are not as usual: "v2 (power 0.5, limit 10)"."""
        usual = Balance(self.mode)
        names = ("power", "smoothing", "limit")
        own = [
            f"{name} {getattr(self, name):g}"
            for name in names
            if getattr(self, name) != getattr(usual, name)
        ]
        return f"{self.mode} ({', '.join(own)})" if own else self.mode


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """The order in which one head draws records.

    Draws are numbered from 0 on. Every aligned run of n draws, n being the number of bins, holds
    each bin once; inside a bin, passes over its records are permutations.

    Attributes:
      bins: The record ids of every non-empty bin, each int32 [any]; one that is to be drawn more
        often than others of its bin stands there several times.
      seed: The run's seed.
      stream: Tells these random numbers from those of other plans.
      batch_size: Draws a batch.
      piece: Which of `pieces` consecutive batches of draws belongs to this head.
      pieces: Heads that share the draws.
    """

    bins: Bins
    seed: int
    stream: int
    batch_size: int
    piece: int = 0
    pieces: int = 1

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
        first = (position * self.pieces + self.piece) * self.batch_size
        draws = np.arange(first, first + self.batch_size)
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

    def shares(self, count: int) -> np.ndarray:
        """Each record's share of the draws, in the long run: float64 [count], summing to 1."""
        ids = np.concatenate(self.bins)
        weights = [np.full(len(records), 1 / len(records)) for records in self.bins]
        weighted = np.bincount(ids, weights=np.concatenate(weights), minlength=count)
        return weighted / len(self.bins)


def balance_of(config: Mapping[str, Any]) -> Balance:
    """The balance of a configuration."""
    return Balance(
        config["balance"],
        config["balance_power"],
        config["balance_limit"],
        config["balance_smoothing"],
    )


def check_balance(balance: Balance, supervise: str) -> None:
    """Checks `config.balance`, its power, limit and smoothing, and `config.supervise`.

    Raises:
      UserError: One is unknown or out of bounds, or they contradict each other.
    """
    mode = balance.mode
    if not 0 <= balance.power <= 1:
        raise UserError(
            f"config.balance_power has to be from 0 (frames as recorded) to 1 (equal bins), found"
            f" {balance.power}"
        )
    if balance.limit and not balance.limit >= 1:
        raise UserError(
            "config.balance_limit has to be at least 1, since a frame is drawn once in an average"
            f" pass, or 0 for no limit, found {balance.limit}"
        )
    if not 0 <= balance.smoothing < math.inf:
        raise UserError(
            "config.balance_smoothing has to be a standard deviation in the label's unit, or 0 for"
            f" no smoothing, found {balance.smoothing}"
        )
    if mode in MODES and mode not in WEIGHTED and balance != Balance(mode):
        raise UserError(
            f"config.balance_power={balance.power:g}, config.balance_limit={balance.limit:g} and"
            f" config.balance_smoothing={balance.smoothing:g} are for balance"
            f" {' and '.join(WEIGHTED)}: with config.balance={mode!r} leave them at 1, 0 and 0"
        )
    if mode not in MODES:
        raise UserError(f"config.balance={mode!r} is not known: one of {', '.join(MODES)}")
    if supervise not in SUPERVISE:
        raise UserError(
            f"config.supervise={supervise!r} is not known: one of {', '.join(SUPERVISE)}"
        )
    if (mode, supervise) == ("v3", "own"):
        raise UserError(
            "config.balance='v3' is 'v2' with every head learning from every image: with"
            " config.supervise='own' it would be 'v2', so name that, or set supervise to 'all'"
        )


def resolve_supervise(mode: str, supervise: str) -> str:
    """What `config.supervise` is under a mode: "auto" becomes what belongs to it."""
    return _AUTO[mode] if supervise == "auto" else supervise


def make_plans(
    heads: Mapping[str, Head],
    learned: Mapping[str, np.ndarray],
    cameras: np.ndarray,
    ids: np.ndarray,
    *,
    balance: Balance,
    seed: int,
    batch_size: int,
    views: str = "none",
) -> dict[str, Plan]:
    """The plan of every head, by its name.

    Args:
      heads: Their bins divide their targets.
      learned: By head name, the labels that it learns, see `label_functions.py`, float32 [N].
      cameras: The camera that saw every record, [N].
      ids: The records to draw from, or the views, int32 [n].
      balance: How bins are drawn.
      seed: The run's seed.
      batch_size: Draws a batch of one head.
      views: Which of the two, one of `jaxdrive.views.VIEWS`.

    Raises:
      UserError: There is nothing to draw from.
    """
    if not len(ids):
        raise UserError("the dataset has no training frames: record or name more sessions")
    drawn = targets_of(heads, learned, cameras, ids, views=views)
    plan = functools.partial(Plan, seed=seed, batch_size=batch_size)
    if balance.mode == "v1":
        bins, stream = _combinations(heads, drawn, ids), zlib.crc32(b"all heads")
        return {
            name: plan(bins=bins, stream=stream, piece=place, pieces=len(heads))
            for place, name in enumerate(heads)
        }
    indices = {name: bin_index(head.bins, drawn[name]) for name, head in heads.items()}
    return {
        name: plan(bins=_own_bins(head, indices, ids, balance), stream=zlib.crc32(name.encode()))
        for name, head in heads.items()
    }


def weights_of(head: Head, own: np.ndarray, balance: Balance) -> np.ndarray:
    """The share of the draws of every record of v2 and v3, float64 [n], by its bin, int64 [n]."""
    smoothing = None
    if balance.smoothing:
        centres = np.asarray(head.bins.values) * head.scale
        smoothing = Smoothing(centres.tolist(), balance.smoothing)
    return record_weights(own, power=balance.power, limit=balance.limit, smoothing=smoothing)


def _combinations(
    heads: Mapping[str, Head], drawn: Mapping[str, np.ndarray], ids: np.ndarray
) -> Bins:
    """The records of every combination of joint bins that there is."""
    joint = {name: head.joint_bins or head.bins for name, head in heads.items()}
    indices = tuple(bin_index(bins, drawn[name]) for name, bins in joint.items())
    combined = np.ravel_multi_index(indices, tuple(map(len, joint.values())))
    return [ids[combined == number] for number in np.unique(combined)]


def _own_bins(
    head: Head, indices: Mapping[str, np.ndarray], ids: np.ndarray, balance: Balance
) -> Bins:
    """The records that a head draws from, of every bin of its own.

    Bins that are not drawn equally are one bin to the plan, in which records stand as often as they
    are drawn.
    """
    if balance.mode == "none":
        return [ids]
    own = indices[head.name]
    weights = weights_of(head, own, balance)
    if balance.mode in WEIGHTED and not equal_bins(own, weights):
        return [np.repeat(ids, copies_of(own, weights, limit=balance.limit))]
    others = [index for other, index in indices.items() if other != head.name]
    if balance.mode == "v4" and others:
        copies = even_copies(own, others)
        ids, own = np.repeat(ids, copies), np.repeat(own, copies)
    return [ids[own == number] for number in np.unique(own)]
