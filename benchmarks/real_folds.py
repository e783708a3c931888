"""A fold of a real recording as the peers get it: frames, steering, and the scores that ours get.

For `real_ridge.py` and `real_keras.py`, which learn from the images that `launch.py train` learns
from, and are scored by the same functions.
"""

import dataclasses
import importlib
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.real_results import FOLDS
from jaxdrive.data.dataset import Dataset
from jaxdrive.data.image_reader import ImageReader
from jaxdrive.data.prepare import prepare
from jaxdrive.evaluation import side_cameras
from jaxdrive.heads import Head, heads_from_config
from jaxdrive.training import metrics, windowed

# Images that are read at a time.
_CHUNK = 500


@dataclasses.dataclass(frozen=True)
class Fold:
    """Frames and what to learn from them.

    Attributes:
      dataset: Prepared as for our runs.
      head: Steering, as the configuration has it.
      reader: Of the images.
    """

    dataset: Dataset
    head: Head
    reader: ImageReader

    def images(self, ids: np.ndarray) -> np.ndarray:
        """Images by record ids (int [n]), uint8 RGB [n, H, W, 3]."""
        parts = [self.reader.read(ids[at : at + _CHUNK]) for at in range(0, len(ids), _CHUNK)]
        return np.concatenate(parts)


def open_fold(run: Mapping[str, Any], arguments: Namespace) -> Fold:
    """Prepares the fold of a run, where that has not been done.

    Args:
      run: See `real_results.runs`.
      arguments: Of `real_results.parser`.
    """
    module = importlib.import_module(f"configs.{run['recording']}")
    fields = module.get_config(*[run["variant"]] * bool(run["variant"])).to_dict()
    path = arguments.recordings[run["recording"]]
    fields["data"] |= {"path": path, "dir": str(arguments.datasets)}
    fields["data"]["split"] |= {"folds": FOLDS, "fold": run["fold"]}
    dataset = prepare(fields["data"])
    return Fold(dataset, heads_from_config(fields["heads"])["steering"], ImageReader(dataset))


def scores(
    fold: Fold, head: Head, split: str, predicted: Callable[[np.ndarray], np.ndarray]
) -> dict[str, Any]:
    """How well predictions follow the driver, as in a run's line.

    Args:
      fold: The frames.
      head: Steering with the corrections that were learned.
      split: Which frames.
      predicted: Gives the predictions for record ids, in the range of the head's target, float32.

    Returns:
      {"frames", "heads", "windowed", "side_cameras"}.
    """
    dataset, heads = fold.dataset, {"steering": head}
    ids = dataset.driving_ids(split)
    predictions = {"steering": predicted(ids)}
    found = metrics.score(head, predictions["steering"], dataset.labels[head.label][ids])
    return {
        "frames": len(ids),
        "heads": {"steering": {kind: found[kind] for kind in ("natural", "balanced")}},
        "windowed": windowed.windowed_scores(heads, dataset, ids, predictions),
        "side_cameras": side_cameras.responses(
            heads, dataset, split, lambda records: {"steering": predicted(records)}
        ),
    }
