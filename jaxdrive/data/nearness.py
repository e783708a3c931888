"""How near in time the nearest training frame is to every held-out one: a split that leaks shows.

Neighbouring frames are near copies. Blocks keep their gap by `split.py`; but whole sessions may
follow each other without a break (a recording cut into folders), or overlap.
"""

import numpy as np

from jaxdrive.data.dataset import Dataset
from jaxdrive.data.split import SPLITS

HELD_OUT = tuple(split for split in SPLITS if split != "train")
# Times are kept to the millisecond.
_ROUNDING = 1e-3


def nearest_training(dataset: Dataset) -> dict[str, np.ndarray]:
    """By split that is held out, seconds between each of its frames and the nearest training frame.

    Frames are comparable within a session, and over sessions whose source knows when they began;
    infinity stands where no training frame is.

    Returns:
      By split, float64 [n], in the order of `dataset.ids(split)`.
    """
    starts = {session["name"]: session["start"] for session in dataset.manifest["sessions"]}
    known = [starts[name] is not None for name in dataset.sessions.tolist()]
    clocks = np.where(known, "", dataset.sessions)
    moments = dataset.times + np.asarray(
        [starts[name] or 0.0 for name in dataset.sessions.tolist()]
    )
    return {
        split: _nearest(clocks, moments, dataset.ids(split), dataset.ids("train"))
        for split in HELD_OUT
    }


def _nearest(
    clocks: np.ndarray, moments: np.ndarray, ids: np.ndarray, train: np.ndarray
) -> np.ndarray:
    found = np.full(len(ids), np.inf)
    for clock in np.unique(clocks[ids]):
        there = np.sort(moments[train[clocks[train] == clock]])
        if not len(there):
            continue
        own = clocks[ids] == clock
        here = moments[ids[own]]
        after = np.searchsorted(there, here)
        before = there[np.maximum(after - 1, 0)]
        found[own] = np.minimum(
            np.abs(here - before), np.abs(there[np.minimum(after, len(there) - 1)] - here)
        )
    return found


def nearness_lines(nearest: dict[str, np.ndarray]) -> list[str]:
    """Lines of text: how near training frames come to each split that is held out."""
    lines = []
    for split, seconds in nearest.items():
        if not len(seconds):
            continue
        told = "no training frame is in a session of its frames"
        if np.isfinite(seconds).any():
            told = (
                f"the nearest training frame in time is at least {seconds.min():.3g} s away (median"
                f" {np.median(seconds):.3g} s)"
            )
        lines.append(f"{split}: {told}")
    return lines


def leak(dataset: Dataset, nearest: dict[str, np.ndarray], *, gap_seconds: float) -> str:
    """What to say where held-out frames come nearer to training frames than the gap; "" if none."""
    for split, seconds in nearest.items():
        near = seconds < gap_seconds - _ROUNDING
        if not near.any():
            continue
        record = int(dataset.ids(split)[np.argmin(seconds)])
        return (
            f"the split leaks: {near.sum():,} of {len(near):,} {split} frames are nearer than"
            f" config.data.split.gap_seconds={gap_seconds:g} to a training frame; the nearest,"
            f" {seconds.min():.3g} s away, is that of {dataset.origins[record]} in session"
            f" {dataset.sessions[record]}. Prepare it anew, split by blocks of time"
            " (config.data.split.block_seconds above 0), or put what follows without a break into"
            " one folder; where it may leak, set config.data.split.gap_seconds=0"
        )
    return ""
