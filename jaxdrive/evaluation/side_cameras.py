"""Does a network see that it is off the middle? Its answers to what side cameras saw.

A camera at the side sees what the middle one would see if the car stood there, so the network has
to steer back: by the correction that its head learned with. A network that answers the same to
both sides drives straight on whatever happens.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxdrive.data.dataset import Dataset
from jaxdrive.heads import Head, controls

SIDES = ("left", "right")


def pairs(dataset: Dataset, split: str) -> np.ndarray:
    """Records of one moment, of the left and of the right camera of a split: int32 [n, 2]."""
    by_side = []
    for side in SIDES:
        ids = np.flatnonzero((dataset.splits == split) & (dataset.cameras == side))
        moments = zip(dataset.sessions[ids].tolist(), dataset.times[ids].tolist(), strict=True)
        by_side.append(dict(zip(moments, ids.tolist(), strict=True)))
    left, right = by_side
    found = [(left[moment], right[moment]) for moment in left if moment in right]
    return np.array(found, np.int32).reshape(-1, 2)


def responses(
    heads: Mapping[str, Head],
    dataset: Dataset,
    split: str,
    predicted: Callable[[np.ndarray], Mapping[str, np.ndarray]],
) -> dict[str, dict[str, Any]]:
    """By head that corrects both side cameras, how it answers to them.

    Args:
      heads: By name.
      dataset: Of the frames.
      split: Which frames.
      predicted: Gives by head name the predictions for records, in the range of its target.

    Returns:
      By head name {"rows", "response": half the mean difference of the answers to left and right,
      in the label's unit, "wanted": the same of the corrections}; nothing where no row has both.
    """
    corrected = [name for name, head in heads.items() if set(SIDES) <= set(head.corrections)]
    rows = pairs(dataset, split) if corrected else np.zeros((0, 2), np.int32)
    if not len(rows):
        return {}
    answers = predicted(rows.ravel())
    found = {}
    for name in corrected:
        left, right = controls(heads[name], answers[name]).reshape(-1, 2).astype(float).T
        wanted = [heads[name].corrections[side] for side in SIDES]
        found[name] = {
            "rows": len(rows),
            "response": float((left - right).mean() / 2),
            "wanted": (wanted[0] - wanted[1]) / 2,
        }
    return found


def lines(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Lines of text: how each head answers to the side cameras."""
    return [
        f"{name}, side cameras: steers back by {one['response']:.3f}, corrected by"
        f" {one['wanted']:g} ({one['rows']:,} rows)"
        for name, one in found.items()
    ]
