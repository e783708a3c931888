"""What a head learns of a recorded label: the label itself, or smoothed and taken from later.

A driver at a keyboard steers in presses of a few frames; averaged over a moment they say how sharp
the bend is. A driver also reacts late, so what an image calls for is recorded a moment after it.
Labels stay in the table as recorded, and scores are measured against those. Balancing and the
loader both learn from what is made here.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from jaxdrive.data.dataset import Dataset
from jaxdrive.heads import Head

# Times are kept to the millisecond.
_ROUNDING = 1e-6


def learned_labels(heads: Mapping[str, Head], dataset: Dataset) -> dict[str, np.ndarray]:
    """By head name, the labels that it learns, in the label's unit: float32 [N]."""
    return {
        name: _changed(dataset.labels[head.label], dataset, head)
        if head.smooth_seconds or head.lead_seconds
        else dataset.labels[head.label]
        for name, head in heads.items()
    }


def _changed(labels: np.ndarray, dataset: Dataset, head: Head) -> np.ndarray:
    changed = labels.astype(np.float32)
    for run in runs_of(dataset):
        times, values = dataset.times[run], labels[run].astype(np.float64)
        changed[run] = window_means(times, values, head.smooth_seconds, head.lead_seconds)
    return changed


def runs_of(dataset: Dataset) -> Iterator[np.ndarray]:
    """Frames that follow each other: of one session, one camera and one split, in order of time.

    A run ends where the split changes, so no label of another split, and none of the gap between
    splits, gets into a mean.

    Yields:
      Record ids, int64 [n].
    """
    order = np.lexsort((dataset.times, dataset.cameras, dataset.sessions))
    columns = (dataset.sessions, dataset.cameras, dataset.splits)
    borders = np.zeros(max(len(order) - 1, 0), bool)
    for column in columns:
        borders |= column[order][1:] != column[order][:-1]
    yield from np.split(order, np.flatnonzero(borders) + 1)


def window_means(
    times: np.ndarray, values: np.ndarray, half_width: float, lead: float
) -> np.ndarray:
    """The mean of the values around a later moment, for each moment.

    Args:
      times: Seconds, ascending, float64 [n].
      values: At these times, float64 [n].
      half_width: Seconds before and after the later moment that the mean covers; 0 = that moment
        alone.
      lead: Seconds from a moment to the later one.

    Returns:
      float64 [n]. Where no value is in the window, the one between its neighbours in time, and
      after the last value that one.
    """
    moments = times + lead
    first = np.searchsorted(times, moments - half_width - _ROUNDING)
    last = np.searchsorted(times, moments + half_width + _ROUNDING, side="right")
    # Differences of sums are not exactly 0 where all values are.
    sums, others = (np.append(0, np.cumsum(column)) for column in (values, values != 0))
    count = last - first
    means = (sums[last] - sums[first]) / np.maximum(count, 1)
    means[others[last] == others[first]] = 0.0
    return np.where(count > 0, means, np.interp(moments, times, values))
