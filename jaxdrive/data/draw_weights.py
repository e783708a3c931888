"""How often each record is drawn when balancing is between none and equal bins, and limited.

With power p a bin of n records gets a share of the draws that is proportional to n^(1 - p): all of
its records alike, 0 as recorded, 1 equal bins. A limit keeps single records from being repeated
too often: no record is drawn more than so many times as often as an average one; what that takes
from its bin goes to the others in proportion.

Equal bins ask the network for what the image may not say: a keyboard is pressed for a few frames,
so the same bend shows 0 and full lock. See docs/decisions.md for what it costs and brings.
"""

import numpy as np

from jaxdrive.data.joint import PASSES, deal, whole_draws


def record_weights(bins: np.ndarray, *, power: float, limit: float) -> np.ndarray:
    """Each record's share of the draws.

    Args:
      bins: The bin of every record, int64 [n], n > 0.
      power: From 0, as recorded, to 1, equal bins.
      limit: Largest share of a record, in shares of an average one, at least 1; 0 = none.

    Returns:
      float64 [n], summing to 1.
    """
    _, own, counts = np.unique(bins, return_inverse=True, return_counts=True)
    weights = counts[own] ** -float(power)
    weights /= weights.sum()
    return _limited(weights, limit / len(bins)) if limit else weights


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
