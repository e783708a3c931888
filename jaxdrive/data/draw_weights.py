"""How often each record is drawn when balancing is between none and equal bins, and limited.

With power p a bin of n records gets a share of the draws that is proportional to n^(1 - p): all of
its records alike, 0 as recorded, 1 equal bins. A limit keeps single records from being repeated
too often: no record is drawn more than so many times as often as an average one; what that takes
from its bin goes to the others in proportion.

Smoothing (label distribution smoothing: Yang et al., "Delving into deep imbalanced regression",
2021) takes a bin to be as frequent as it and its neighbours are together: images of near labels
are alike, so a bin of few frames beside a bin of many is not as rare as its count says. A record
gets a share in proportion to m^-p, m being the mean of all bins' counts under a Gaussian around the
bin's centre, up to a factor. An exact value takes part as any bin does, at its own value: the road
at exactly 0 looks like the road at 0.01.

Equal bins ask the network for what the image may not say: a keyboard is pressed for a few frames,
so the same bend shows 0 and full lock. See docs/decisions.md for what it costs and brings.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from jaxdrive.data.joint import PASSES, deal, whole_draws


@dataclasses.dataclass(frozen=True)
class Smoothing:
    """A Gaussian kernel over bins.

    Attributes:
      centres: Of every bin, in the label's unit; an exact value's is itself.
      deviation: Standard deviation in the same unit, above 0.
    """

    centres: Sequence[float]
    deviation: float


def record_weights(
    bins: np.ndarray, *, power: float, limit: float, smoothing: Smoothing | None = None
) -> np.ndarray:
    """Each record's share of the draws.

    Args:
      bins: The bin of every record, int64 [n], n > 0.
      power: From 0, as recorded, to 1, equal bins.
      limit: Largest share of a record, in shares of an average one, at least 1; 0 = none.
      smoothing: Of the bins' counts, before the power is applied; None = none.

    Returns:
      float64 [n], summing to 1.
    """
    present, own, counts = np.unique(bins, return_inverse=True, return_counts=True)
    if smoothing is not None:
        counts = _smoothed(counts, np.asarray(smoothing.centres)[present], smoothing.deviation)
    weights = counts[own] ** -float(power)
    weights /= weights.sum()
    return _limited(weights, limit / len(bins)) if limit else weights


def _smoothed(counts: np.ndarray, centres: np.ndarray, deviation: float) -> np.ndarray:
    """Sums of the counts [k] under a Gaussian around each centre [k], which is 1 there."""
    distances = (centres[:, None] - centres[None]) / deviation
    smoothed: np.ndarray = np.exp(-np.square(distances) / 2) @ counts
    return smoothed


def most_drawn(weights: np.ndarray) -> dict[str, float]:
    """How unequal records' shares of the draws are.

    Args:
      weights: Of every record, float64 [n], summing to 1.

    Returns:
      {"repeats": how many times as often as an average record the most-drawn one is drawn,
      "top_share": share of the draws of the 1 % of records that are drawn most, of one at least}.
    """
    top = np.sort(weights)[-math.ceil(len(weights) / 100) :]
    return {"repeats": float(top[-1] * len(weights)), "top_share": float(top.sum())}


def equal_bins(bins: np.ndarray, weights: np.ndarray) -> bool:
    """Whether records' shares of the draws make all bins equal."""
    _, own = np.unique(bins, return_inverse=True)
    shares = np.bincount(own, weights=weights)
    return bool(np.allclose(shares, shares[0], rtol=1e-9, atol=0))


def copies_of(bins: np.ndarray, weights: np.ndarray, *, limit: float) -> np.ndarray:
    """How often each record is drawn in `PASSES` passes over all records.

    Args:
      bins: The bin of every record, int64 [n].
      weights: As `record_weights` gives them: the same for all records of a bin.
      limit: As there.

    Returns:
      int64 [n], each at least 1, those of a bin differing by 1 at most.
    """
    _, own, counts = np.unique(bins, return_inverse=True, return_counts=True)
    wanted = np.bincount(own, weights=weights) * PASSES * len(bins)
    draws = np.maximum(whole_draws(wanted, np.zeros(len(counts), np.int64)), counts)
    copies = deal(draws, own, counts)
    return np.minimum(copies, int(limit * PASSES)) if limit else copies


def _limited(weights: np.ndarray, most: float) -> np.ndarray:
    """Weights of which none is above `most`; the others keep their proportions. All sum to 1."""
    limited = np.zeros(len(weights), bool)
    while True:
        rest = 1 - most * limited.sum()
        free = weights[~limited].sum()
        scaled = np.where(limited, most, weights * (rest / free if free else 0.0))
        # Rounding alone is no reason to go on.
        above = ~limited & (scaled > most * (1 + 1e-12))
        if not above.any():
            return scaled
        limited |= above
