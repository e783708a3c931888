"""How well does the usual Keras recipe follow the drivers of real recordings?

What one gets from PilotNet in Keras in as many seconds on the same folds as `real_recordings.py`:
images of `keras_recipe.py`, Adam at 1e-4, squared error, and the weights with the least squared
error on validation frames of the middle camera, measured every 100 batches. keras_usual learns from
all frames, keras_capped from at most so many in a bin of steering.

Seconds are those of training and validation alone: imports, reading and compiling are done before
and are not counted, whereas those of our runs are of the whole command. They are the median of our
runs of the recording in the results, or --seconds; --cpu_seconds counts the time of all cores, for
machines on which other programs run. `real_results.py` says how runs are kept and resumed.

Needs the extra `bench`. Keras computes with TensorFlow, which is fastest on CPUs, or, where that is
not installed, with JAX.

Command:
  python -m benchmarks.real_keras --recording=udacity=DIR --recording=donkey=DIR --folds=0,2,4
"""

import dataclasses
import importlib.util
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

# Before anything imports Keras.
if "KERAS_BACKEND" not in os.environ:
    found = importlib.util.find_spec("tensorflow")
    os.environ["KERAS_BACKEND"] = "tensorflow" if found else "jax"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import cv2
import keras
import numpy as np

from benchmarks import keras_recipe, real_folds, real_results
from benchmarks.keras_recipe import Batch
from benchmarks.real_folds import Fold

NAMES = USUAL, CAPPED = ("keras_usual", "keras_capped")
_LEARNING_RATE = 1e-4
# Batches from one validation to the next.
_EVERY = 100


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long a training takes, validation included.

    Attributes:
      seconds: Of the clock.
      clock: Gives the time of the wall or of all cores.
    """

    seconds: float
    clock: Callable[[], float]


def pilotnet(shape: tuple[int, ...]) -> keras.Model:
    """PilotNet as popular repositories have it, from uint8 images of a shape (H, W, 3)."""
    layers = keras.layers
    strided = [layers.Conv2D(n, 5, strides=2, activation="elu") for n in (24, 36, 48)]
    plain = [layers.Conv2D(64, 3, activation="elu") for _ in range(2)]
    dense = [layers.Dense(n, activation="elu") for n in (100, 50, 10)]
    return keras.Sequential(
        [
            keras.Input(shape, dtype="uint8"),
            layers.Rescaling(1 / 127.5, offset=-1.0),
            *strided,
            *plain,
            layers.Dropout(0.5),
            layers.Flatten(),
            *dense,
            layers.Dense(1),
        ]
    )


def train(
    network: keras.Model, source: Iterator[Batch], held_out: Batch, budget: Budget
) -> dict[str, Any]:
    """Trains for a time and leaves the best weights in the network.

    Args:
      network: Compiled.
      source: Batches.
      held_out: Images and labels of the validation frames.
      budget: The time.

    Returns:
      {"seconds", "cpu_seconds", "step": of the best weights, "steps": of all, "images": seen}.
    """
    images, labels = held_out
    # Compiles both.
    network.train_on_batch(*next(source))
    predict(network, images)
    step, best = 1, (np.inf, 0, network.get_weights())
    started, used = time.perf_counter(), time.process_time()
    end = budget.clock() + budget.seconds
    while budget.clock() < end:
        for _ in range(_EVERY):
            network.train_on_batch(*next(source))
            step += 1
            if budget.clock() >= end:
                break
        error = float(np.square(predict(network, images) - labels).mean())
        if error < best[0]:
            best = error, step, network.get_weights()
    passed, used = time.perf_counter() - started, time.process_time() - used
    network.set_weights(best[2])
    return {
        "seconds": round(passed, 1),
        "cpu_seconds": round(used, 1),
        "step": best[1],
        "steps": step,
        "images": step * keras_recipe.BATCH,
    }


def predict(network: keras.Model, images: np.ndarray) -> np.ndarray:
    """What a network answers to YUV images: float32 [n]."""
    return network.predict(images, batch_size=64, verbose=0)[:, 0]


def made(
    run: Mapping[str, Any], fold: Fold, budget: Budget, learning_rate: float
) -> dict[str, Any]:
    """Trains and scores; returns what `train` does, with the backend and scores."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(run["seed"])
    generator = np.random.default_rng(run["seed"])
    dataset = fold.dataset
    rows = keras_recipe.training_rows(fold)
    if run["name"] == CAPPED:
        rows = rows.only(keras_recipe.capped(rows.labels, generator))
    held_out = dataset.driving_ids("validation")
    labels = dataset.labels[fold.head.label][held_out]
    shift, corrections = keras_recipe.ONE_CAMERA, {}
    if len(rows.corrections) > 1:
        shift, corrections = keras_recipe.SIDE_CAMERAS, keras_recipe.CORRECTIONS
    network = pilotnet(dataset.image_shape)
    network.compile(keras.optimizers.Adam(learning_rate), "mse")
    source = keras_recipe.ahead(keras_recipe.batches(rows, shift, generator))
    validation = keras_recipe.yuv(fold.images(held_out)), labels
    trained = train(network, source, validation, budget)
    found = real_folds.scores(
        fold,
        dataclasses.replace(fold.head, corrections=corrections),
        run["split"],
        lambda ids: predict(network, keras_recipe.yuv(fold.images(ids))) / fold.head.scale,
    )
    return trained | {"backend": keras.backend.backend(), "rows": len(rows.labels)} | found


def main() -> None:
    """Makes the runs that are missing and prints means."""
    parser = real_results.parser(__doc__)
    limits = parser.add_mutually_exclusive_group()
    limits.add_argument("--seconds", type=float, help="of training; by default as our runs took")
    limits.add_argument("--cpu_seconds", type=float, help="of training, on all cores together")
    parser.add_argument("--learning_rate", type=float, default=_LEARNING_RATE)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    changed = {
        name: getattr(arguments, name)
        for name in ("seconds", "cpu_seconds", "learning_rate")
        if getattr(arguments, name) != parser.get_default(name)
    }
    lines = real_results.read(arguments.output)
    given = arguments.seconds or arguments.cpu_seconds
    budgets = {
        recording: Budget(
            given or real_results.usual_seconds(lines, recording),
            time.process_time if arguments.cpu_seconds else time.perf_counter,
        )
        for recording in arguments.recordings
    }
    real_results.complete(
        arguments,
        real_results.runs(
            arguments, NAMES, [f"--{name}={value:g}" for name, value in changed.items()]
        ),
        lambda run: made(
            run,
            real_folds.open_fold(run, arguments),
            budgets[run["recording"]],
            arguments.learning_rate,
        ),
    )


if __name__ == "__main__":
    main()
