"""How often a frame is drawn, so that balancing one head evens out the others as well.

A head draws all of its own bins equally often. Which frames it draws inside a bin is free, and the
published trainer's authors wanted, but never built, to choose those that balance the other outputs.
Here that choice is a set of weights, found once from the label table.

The objective: let a cell be a combination of the other heads' bins, w[b, c] the share of the draws
from the head's bin b that fall into cell c, and q[c] the mean of w[b, c] over its bins, which is
what a batch holds of the cell. Among all w with w[b, c] > 0 only where there are frames, take the
one whose q has the largest entropy: the joint distribution of the other heads' targets is as even
as the recordings allow. Inside a cell all frames are alike. One draw in `PASSES` is kept for all
frames of the bin alike, so that none of them is never seen.

The objective is concave, and multiplying w[b, c] by q[c]^-1/2 again and again climbs it, as in the
algorithm of Blahut (IEEE Transactions on Information Theory 18, 1972) for channel capacities.
"""

from collections.abc import Sequence

import numpy as np

PASSES = 16
"""How many times a bin's number of frames are drawn until each was drawn at least once."""
# Enough for the entropy to stand still in its fourth digit on every table tried.
_ITERATIONS = 300


def even_copies(own: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """How often each frame stands in a pass over its bin.

    Args:
      own: The bin of every frame by the head's own target, int64 [n], n > 0.
      others: The same by the target of every other head.

    Returns:
      int64 [n], each at least 1; those of a bin sum to `PASSES` times its number of frames.
    """
    _, own = np.unique(own, return_inverse=True)
    sizes = tuple(int(index.max()) + 1 for index in others)
    _, cell = np.unique(np.ravel_multi_index(tuple(others), sizes), return_inverse=True)
    # A group is what there is of one cell in one of the head's bins.
    count = cell.max() + 1
    groups, group_of, frames = np.unique(
        own * count + cell, return_inverse=True, return_counts=True
    )
    bins, cells = np.divmod(groups, count)
    in_bin = np.bincount(bins, weights=frames)
    alike = frames / in_bin[bins]
    weights = alike / PASSES + (1 - 1 / PASSES) * _even_weights(bins, cells, alike)
    return deal(whole_draws(weights * PASSES * in_bin[bins], bins), group_of, frames)


def deal(draws: np.ndarray, group_of: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """How often each frame is drawn, so that frames of a group differ by one at most.

    Args:
      draws: Of each group, int64.
      group_of: The group of every frame, int64 [n].
      frames: Of each group, its number of frames.

    Returns:
      int64 [n].
    """
    order = np.argsort(group_of, kind="stable")
    starts = np.cumsum(frames) - frames
    rank = np.empty(len(group_of), np.int64)
    rank[order] = np.arange(len(group_of)) - starts[group_of[order]]
    every, left = np.divmod(draws, frames)
    copies: np.ndarray = every[group_of] + (rank < left[group_of])
    return copies


def _even_weights(bins: np.ndarray, cells: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """The weights of the objective, float64 by group; those of a bin sum to 1.

    Args:
      bins: The head's bin of each group.
      cells: Its cell.
      alike: Its share of the bin's frames, from which the search starts.
    """
    weights = alike
    for _ in range(_ITERATIONS):
        mixed = np.bincount(cells, weights=alike / PASSES + (1 - 1 / PASSES) * weights)
        weights = weights / np.sqrt(mixed[cells])
        weights = weights / np.bincount(bins, weights=weights)[bins]
    return weights


def whole_draws(draws: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Draws as whole numbers, int64, with the same sum in every bin: the largest rests round up."""
    # A group's least number of draws is whole already, but for the rounding of its product.
    whole = np.floor(draws + 1e-9).astype(np.int64)
    missing = np.round(np.bincount(bins, weights=draws - whole)).astype(np.int64)
    order = np.lexsort((whole - draws, bins))
    starts = np.searchsorted(bins[order], np.arange(len(missing)))
    place = np.arange(len(draws)) - starts[bins[order]]
    whole[order] += place < missing[bins[order]]
    return whole
