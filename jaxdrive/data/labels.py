"""Whether there are labels for the heads to learn, and whether all of them lie in a bin.

Looked at before training: a label out of range would be cut off at its end in silence, and one that
is no number would spoil every update it is drawn in. Where a run is only evaluated, labels out of
range are told and go on.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from jaxdrive.data.dataset import Dataset
from jaxdrive.data.split import GAP
from jaxdrive.errors import UserError
from jaxdrive.heads import Head

# Share of a head's range by which a label may lie outside of it: rounding, at most.
_ROUNDING = 1e-4


def check_names(
    config: Mapping[str, Any], heads: Mapping[str, Head], names: Collection[str], *, where: str
) -> None:
    """Looks whether the labels that a configuration asks for are among `names`.

    Args:
      config: Its `scalars` are labels that serve as inputs.
      heads: By name.
      names: Of the labels that there are.
      where: What has them, for the message.

    Raises:
      UserError: One of them is not there.
    """
    wanted = {f"config.scalars.{name}": name for name in config["scalars"]}
    wanted |= {f"config.heads.{name}.label": head.label for name, head in heads.items()}
    for field, label in wanted.items():
        if label not in names:
            raise UserError(
                f"{field} asks for the label {label!r}, which {where} does not have: it has"
                f" {', '.join(sorted(names))}"
            )


def check_values(heads: Mapping[str, Head], dataset: Dataset) -> None:
    """Looks whether every label of a dataset, before corrections of cameras, lies in a bin.

    Corrections and random shifts are cut off at the ends of the range: they are guesses.

    Raises:
      UserError: One does not, or is no number; the text names head, count, value and frame.
    """
    for name, told in beyond_bins(heads, dataset, np.flatnonzero(dataset.splits != GAP)).items():
        raise UserError(
            f"config.heads.{name} has {told}, which is low and high times scale. Raise"
            f" config.heads.{name}.scale, or widen low, high and bins"
        )


def beyond_bins(heads: Mapping[str, Head], dataset: Dataset, ids: np.ndarray) -> dict[str, str]:
    """What is said of the heads for which some labels of the records `ids` lie in no bin.

    Args:
      heads: By name.
      dataset: With their labels.
      ids: Records that count, int [n].

    Returns:
      By head name "no bin for ...": how many labels, the farthest and its frame, the bins' ends.
    """
    told = {}
    for name, head in heads.items():
        labels = dataset.labels[head.label][ids]
        targets = labels.astype(np.float64) / head.scale
        beyond = np.maximum(head.low - targets, targets - head.high)
        wrong = np.flatnonzero(~(beyond <= _ROUNDING * (head.high - head.low)))
        if len(wrong):
            worst = wrong[np.argmax(np.nan_to_num(beyond[wrong], nan=np.inf))]
            told[name] = (
                f"no bin for {len(wrong):,} of {len(ids):,} labels {head.label!r}, such as"
                f" {labels[worst]:.6g} ({dataset.origins[ids[worst]]}): its bins go from"
                f" {head.low * head.scale:.6g} to {head.high * head.scale:.6g}"
            )
    return told
