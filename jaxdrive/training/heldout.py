"""Predictions for every frame of a split, each exactly once, and what they say while training."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxdrive.data.loader import Examples, Rows, frame_batches
from jaxdrive.heads import best_by_of
from jaxdrive.training import metrics, windowed
from jaxdrive.training.memory import out_of_memory_told
from jaxdrive.training.parallel import Partition
from jaxdrive.training.parts import Trainer
from jaxdrive.training.state import TrainState

# Rows of one prediction step on all devices together; more are no faster.
_MAX_ROWS = 256
_LOGGED = ("mse", "mae", "skill")


def predict_frames(
    predict: Callable[..., Any],
    partition: Partition,
    variables: tuple[Any, Any],
    examples: Examples,
    ids: np.ndarray,
    *,
    batch_size: int,
    threads: int,
) -> dict[str, np.ndarray]:
    """Predicts targets for the records `ids`.

    Args:
      predict: A prediction step, spread by `partition`.
      partition: How it is spread.
      variables: (params, batch_stats) as `partition.put_state` gives them.
      examples: Makes inputs of record ids.
      ids: int32 [n], n > 0.
      batch_size: Records predicted at once, rounded up to a multiple of the devices.
      threads: Batches read at once.

    Returns:
      By head name, float32 [n] in the order of `ids`, on every process.

    Raises:
      UserError: Memory does not suffice.
    """
    devices = jax.device_count()
    batch_size = -(-batch_size // devices) * devices
    rows = Rows(jax.process_index(), jax.process_count())
    height, width, _ = examples.dataset.image_shape
    with out_of_memory_told(
        what=f"predicting {batch_size} pictures of {height} x {width} at once",
        remedy="Lower --config.batch_size, which prediction follows, or prepare smaller pictures"
        " (config.data.height, width)",
    ):
        batches = frame_batches(examples, ids, batch_size=batch_size, rows=rows, threads=threads)
        parts = [
            partition.get_rows(predict(variables, partition.put_batch(inputs)))
            for inputs in batches
        ]
    return {
        name: np.concatenate([np.asarray(part[name]) for part in parts])[: len(ids)]
        for name in parts[0]
    }


def prediction_rows(config: Mapping[str, Any]) -> int:
    """Records to predict at once: as many as a step of all heads holds, which memory has room for.

    A prediction keeps no activations for gradients, so it needs less than a step of one head.
    """
    return min(_MAX_ROWS, len(config["heads"]) * config["batch_size"])


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """How a state does on the validation frames.

    Attributes:
      line: mse, mae and skill of every head, natural and balanced, and the windowed error of heads
        that turn the car, as they are logged.
      skill: What `config.best_by` says, larger is better; None where labels are constant.
      records: The validation frames, int32 [n], ascending.
      predictions: By head name, in the range of its target, float32 [n].
    """

    line: dict[str, Any]
    skill: float | None
    records: np.ndarray
    predictions: Mapping[str, np.ndarray]


def measure(trainer: Trainer, config: Mapping[str, Any], state: TrainState) -> HeldOut:
    """Scores a state, as `partition.put_state` gives it, on every validation frame."""
    dataset = trainer.examples.dataset
    ids = dataset.driving_ids("validation")
    predictions = predict_frames(
        trainer.network.predict,
        trainer.network.partition,
        (state.evaluated, state.batch_stats),
        trainer.examples,
        ids,
        batch_size=prediction_rows(config),
        threads=config["loader"]["threads"],
    )
    labels = {name: values[ids] for name, values in dataset.labels.items()}
    scores = metrics.scores_of(trainer.network.heads, predictions, labels)
    line: dict[str, Any] = {}
    for head, kinds in scores.items():
        line |= {f"validation/{head}/{name}": kinds["natural"][name] for name in _LOGGED}
        line |= {f"validation/{head}/balanced_{name}": kinds["balanced"][name] for name in _LOGGED}
    skills = {
        kind: metrics.mean_skill({head: kinds[kind] for head, kinds in scores.items()})
        for kind in ("natural", "balanced")
    }
    line |= {"validation/skill": skills["natural"], "validation/balanced_skill": skills["balanced"]}
    followed = windowed.windowed_scores(trainer.network.heads, dataset, ids, predictions)
    for head, windows in followed.items():
        line |= windowed.logged(head, windows[0])
    name, measure = best_by_of(config["best_by"], trainer.network.heads)
    if name is None:
        best = skills[measure]
    else:
        best = followed[name][0]["r2"] if measure == "windowed" else scores[name][measure]["skill"]
    return HeldOut(line, best, ids, predictions)
