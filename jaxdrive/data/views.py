"""Which views there are: view number = record * 14 + number of the transform.

A record is what one camera saw of one row of a recording, so (row, camera, transform) and the
number stand for each other one to one, whatever rows and cameras are missing. Splits are assigned
to records, before there are views: all views of a frame belong to its split. Pure numpy; the
transforms themselves stand in `jaxdrive/views.py`.
"""

from collections.abc import Mapping

import numpy as np

from jaxdrive.heads import Head, targets
from jaxdrive.views import TRANSFORMS

_COUNT = len(TRANSFORMS)
_MIRRORED = np.asarray([transform.mirrored for transform in TRANSFORMS])


def ids_of(records: np.ndarray, *, views: str) -> np.ndarray:
    """What is drawn of `records` (int32 [n]): they themselves, or all their views, int32 [14 n]."""
    if views == "none":
        return records
    numbers = np.arange(_COUNT, dtype=np.int32)
    return (records[:, None] * np.int32(_COUNT) + numbers).ravel()


def records_of(ids: np.ndarray, *, views: str) -> np.ndarray:
    """The records that drawn numbers (int32 [n]) are of: int32 [n]."""
    return ids if views == "none" else ids // np.int32(_COUNT)


def transforms_of(ids: np.ndarray) -> np.ndarray:
    """The place in `TRANSFORMS` of every view, int32 [n]."""
    return ids % np.int32(_COUNT)


def targets_of(
    heads: Mapping[str, Head],
    learned: Mapping[str, np.ndarray],
    cameras: np.ndarray,
    ids: np.ndarray,
    *,
    views: str,
) -> dict[str, np.ndarray]:
    """What is learned from drawn numbers.

    Args:
      heads: By name.
      learned: By head name, the labels that it learns, see `label_functions.py`, float32 [N].
      cameras: The camera that saw every record, [N].
      ids: Numbers of records, or of views, int32 [n].
      views: One of `jaxdrive.views.VIEWS`.

    Returns:
      By head name, float32 [n]; a mirrored view's is that of the mirrored picture.
    """
    records = records_of(ids, views=views)
    as_is, mirrored = (
        {
            name: targets(head, learned[name][records], cameras[records], mirrored=side)
            for name, head in heads.items()
        }
        for side in (False, True)
    )
    if views == "none":
        return as_is
    swapped = _MIRRORED[transforms_of(ids)]
    return {name: np.where(swapped, mirrored[name], as_is[name]) for name in heads}
