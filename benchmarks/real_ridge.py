"""How well does a ridge regression on random features follow the drivers of real recordings?

What one gets in a few CPU seconds without a network, for comparison with `real_recordings.py` on
the same folds: random filters of 5 x 5, rectified and averaged over regions of the image (random
features: Rahimi and Recht, NIPS 2007), and a linear regression whose penalty is chosen on the
validation blocks. It learns from the same frames, also mirrored ones and those of side cameras.

Command:
  python -m benchmarks.real_ridge --recording=udacity=DIR --recording=donkey=DIR --split=validation
"""

import argparse
import importlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.peer_workers.conversation import ROOT
from benchmarks.real_recordings import FOLDS
from jaxdrive.bins import bin_index
from jaxdrive.data.image_reader import ImageReader
from jaxdrive.data.label_functions import learned_labels
from jaxdrive.data.prepare import prepare
from jaxdrive.heads import heads_from_config, targets
from jaxdrive.training import metrics, windowed

_FILTERS, _SIDE = 48, 5
_HEIGHT, _WIDTH = 22, 64
# Columns between two places of a filter, and regions that places are averaged over.
_STRIDE, _ROWS, _COLUMNS = 2, 3, 10
_PENALTIES = (3e3, 1e4, 3e4, 1e5)
_CHUNK = 500


def features(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """Random features of images.

    Args:
      images: uint8 [n, H, W, 3].
      seed: Of the filters.

    Returns:
      float32 [n, regions * filters].
    """
    generator = np.random.default_rng(seed)
    filters = generator.standard_normal((_FILTERS, _SIDE * _SIDE * 3)).astype(np.float32)
    filters -= filters.mean(axis=1, keepdims=True)
    filters /= np.linalg.norm(filters, axis=1, keepdims=True)
    offsets = generator.uniform(-0.3, 0.3, _FILTERS).astype(np.float32)
    return np.stack([_features(image, filters, offsets) for image in images])


def _features(image: np.ndarray, filters: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    small = cv2.resize(image, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32)
    small = (small - small.mean()) / (small.std() + 1)
    patches = np.lib.stride_tricks.sliding_window_view(small, (_SIDE, _SIDE), axis=(0, 1))
    patches = patches[:, ::_STRIDE]
    rows, columns = patches.shape[:2]
    answers = np.maximum(patches.reshape(rows * columns, -1) @ filters.T + offsets, 0)
    regions = answers.reshape(_ROWS, rows // _ROWS, _COLUMNS, columns // _COLUMNS, _FILTERS)
    return regions.mean(axis=(1, 3)).ravel()


def ridge(inputs: np.ndarray, wanted: np.ndarray, weights: np.ndarray, penalty: float) -> Any:
    """The (mean, coefficients) of a weighted ridge regression; inputs are standardised."""
    weights = (weights / weights.mean()).astype(np.float32)
    mean = np.average(wanted, weights=weights)
    weighted = inputs * weights[:, None]
    gram = weighted.T @ inputs + penalty * np.eye(inputs.shape[1], dtype=np.float32)
    return mean, np.linalg.solve(gram, weighted.T @ (wanted - mean))


def scores(config: Mapping[str, Any], *, power: float, split: str) -> dict[str, Any]:
    """Fits on the training frames of a configuration, scores on the driving camera's of a split."""
    started = time.process_time()
    dataset = prepare(config["data"])
    head = heads_from_config(config["heads"])["steering"]
    learned = learned_labels({"steering": head}, dataset)["steering"]
    reader = ImageReader(dataset)

    def of(ids: np.ndarray, *, mirrored: bool = False) -> np.ndarray:
        parts = [reader.read(ids[at : at + _CHUNK]) for at in range(0, len(ids), _CHUNK)]
        return np.concatenate([features(part[:, :, ::-1] if mirrored else part) for part in parts])

    train = dataset.ids("train")
    inputs = np.concatenate([of(train), of(train, mirrored=True)])
    wanted = np.concatenate(
        [
            targets(head, learned[train], dataset.cameras[train], mirrored=side)
            for side in (False, True)
        ]
    )
    middle, spread = inputs[: len(train)].mean(axis=0), inputs[: len(train)].std(axis=0) + 1e-3
    inputs = (inputs - middle) / spread
    _, own, counts = np.unique(
        bin_index(head.bins, wanted), return_inverse=True, return_counts=True
    )
    held_out = {name: dataset.driving_ids(name) for name in ("validation", split)}
    seen = {name: (of(ids) - middle) / spread for name, ids in held_out.items()}
    fits = [ridge(inputs, wanted, counts[own] ** -power, penalty) for penalty in _PENALTIES]
    answers = [{name: mean + x @ line for name, x in seen.items()} for mean, line in fits]
    validation = targets(head, learned[held_out["validation"]])
    best = min(answers, key=lambda answer: np.square(answer["validation"] - validation).mean())
    ids, predictions = held_out[split], {"steering": best[split].astype(np.float32)}
    found = metrics.score(head, predictions["steering"], dataset.labels["steering"][ids])
    return {
        "seconds": time.process_time() - started,
        "heads": {"steering": {kind: found[kind] for kind in ("natural", "balanced")}},
        "windowed": windowed.windowed_scores({"steering": head}, dataset, ids, predictions),
    }


def main() -> None:
    """Scores all folds and powers of the balance; prints a line for each, then means."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recording", action="append", default=[], metavar="CONFIG=DIR")
    parser.add_argument("--folds", default="0,1,2,3,4")
    parser.add_argument("--powers", default="0,0.5")
    parser.add_argument("--smooth", type=float, default=0.0, help="seconds")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    folder = ROOT / "runs" / "real_recordings"
    parser.add_argument("--datasets", type=Path, default=folder / "datasets")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    for text in arguments.recording:
        name, path = text.split("=", 1)
        for power in map(float, arguments.powers.split(",")):
            lines = []
            for fold in map(int, arguments.folds.split(",")):
                config = importlib.import_module(f"configs.{name}").get_config()
                config.heads.steering.smooth_seconds = arguments.smooth
                fields = config.to_dict()
                fields["data"] |= {"path": path, "dir": str(arguments.datasets)}
                fields["data"]["split"] |= {"folds": FOLDS, "fold": fold}
                found = scores(fields, power=power, split=arguments.split)
                lines.append(found | {"recording": name, "power": power, "fold": fold})
                print(json.dumps(lines[-1]), flush=True)
            windows = [line["windowed"]["steering"][0] for line in lines]
            steering = [line["heads"]["steering"] for line in lines]
            print(
                f"{name:8} ridge, power {power:g}: {len(lines)} folds, ratio 1 s"
                f" {np.mean([window['ratio'] for window in windows]):.3f}, R2 1 s"
                f" {np.mean([window['r2'] for window in windows]):.3f}, balanced R2"
                f" {np.mean([score['balanced']['skill'] for score in steering]):.3f}, balanced MAE"
                f" {np.mean([score['balanced']['mae'] for score in steering]):.3f}"
            )


if __name__ == "__main__":
    main()
