"""How well does a ridge regression on random features follow the drivers of real recordings?

What one gets in a few CPU seconds without a network, for comparison with `real_recordings.py` on
the same folds: random filters of 5 x 5, rectified and averaged over regions of the image (random
features: Rahimi and Recht, NIPS 2007), and a linear regression whose penalty is chosen on the
validation blocks. It learns from the same frames, also mirrored ones and those of side cameras: as
recorded (ridge_none), and with bins balanced to the power 0.5 (ridge_half). straight_on always
answers 0. `real_results.py` says how runs are kept and resumed.

Command:
  python -m benchmarks.real_ridge --recording=udacity=DIR --recording=donkey=DIR --split=validation
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np

from benchmarks import real_folds, real_results
from benchmarks.real_folds import Fold
from jaxdrive.bins import bin_index
from jaxdrive.data.label_functions import learned_labels
from jaxdrive.heads import Head, targets

# Powers of the balance by name.
POWERS = {"ridge_none": 0.0, "ridge_half": 0.5}
STRAIGHT_ON = "straight_on"

_FILTERS, _SIDE = 48, 5
_HEIGHT, _WIDTH = 22, 64
# Columns between two places of a filter, and regions that places are averaged over.
_STRIDE, _ROWS, _COLUMNS = 2, 3, 10
_PENALTIES = (3e3, 1e4, 3e4, 1e5)


def features(images: np.ndarray, seed: int) -> np.ndarray:
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


def fit(fold: Fold, head: Head, power: float, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Fits on the training frames; the penalty has the least error on the validation frames.

    Args:
      fold: The frames.
      head: Steering, with the smoothing and corrections to learn.
      power: Of the balance: a frame in a bin of n weighs n^-power.
      seed: Of the filters.

    Returns:
      Gives the predictions for record ids, in the range of the head's target, float32.
    """
    dataset = fold.dataset
    learned = learned_labels({"steering": head}, dataset)["steering"]
    train, held_out = dataset.ids("train"), dataset.driving_ids("validation")
    images = fold.images(train)
    inputs = np.concatenate([features(view, seed) for view in (images, images[:, :, ::-1])])
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

    def seen(ids: np.ndarray) -> np.ndarray:
        return (features(fold.images(ids), seed) - middle) / spread

    fits = [ridge(inputs, wanted, counts[own] ** -power, penalty) for penalty in _PENALTIES]
    validation, truth = seen(held_out), targets(head, learned[held_out])
    errors = [np.square(mean + validation @ line - truth).mean() for mean, line in fits]
    mean, line = fits[int(np.argmin(errors))]
    return lambda ids: (mean + seen(ids) @ line).astype(np.float32)


def made(run: Mapping[str, Any], fold: Fold, smooth: float) -> dict[str, Any]:
    """Fits and scores; returns seconds from the prepared dataset to the chosen fit, and scores."""
    head = dataclasses.replace(fold.head, smooth_seconds=smooth)
    started, used = time.perf_counter(), time.process_time()
    predicted: Callable[[np.ndarray], np.ndarray] = _straight_on
    if run["name"] != STRAIGHT_ON:
        predicted = fit(fold, head, POWERS[run["name"]], run["seed"])
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time() - used, 1),
        "step": 0,
    } | real_folds.scores(fold, head, run["split"], predicted)


def _straight_on(ids: np.ndarray) -> np.ndarray:
    return np.zeros(len(ids), np.float32)


def main() -> None:
    """Makes the runs that are missing and prints means."""
    parser = real_results.parser(__doc__)
    parser.add_argument("--smooth", type=float, default=0.0, help="seconds")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    flags = [f"--smooth={arguments.smooth:g}"] * bool(arguments.smooth)
    real_results.complete(
        arguments,
        real_results.runs(arguments, [STRAIGHT_ON, *POWERS], flags),
        lambda run: made(run, real_folds.open_fold(run, arguments), arguments.smooth),
    )


if __name__ == "__main__":
    main()
