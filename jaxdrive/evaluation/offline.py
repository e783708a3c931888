"""What a checkpoint is worth on recorded frames that it never saw: `evaluation.json`."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath

from jaxdrive import workdir as workdirs
from jaxdrive.data.dataset import Dataset
from jaxdrive.data.labels import beyond_bins
from jaxdrive.data.prepare import fingerprints
from jaxdrive.data.split import SPLITS
from jaxdrive.errors import UserError
from jaxdrive.evaluation import correlation, side_cameras, verdict
from jaxdrive.heads import Head, heads_from_config, learning_text
from jaxdrive.training import metrics, windowed
from jaxdrive.training.heldout import predict_frames, prediction_rows
from jaxdrive.training.parts import make_examples
from jaxdrive.training.restored import restore_network

FILE = "evaluation.json"


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What one checkpoint says to recorded frames.

    Attributes:
      step: Of the checkpoint.
      trained_on: Fingerprint of the run's dataset; None where no checkpoint tells it.
      heads: By name.
      ids: Records of the dataset, int32 [n], n > 0.
      targets: By head name, predictions in the range of the head's target, float32 [n].
      seconds: That predicting took, compilation left out.
    """

    step: int
    trained_on: str | None
    heads: Mapping[str, Head]
    ids: np.ndarray
    targets: Mapping[str, np.ndarray]
    seconds: float


def evaluate(
    config: Mapping[str, Any],
    workdir: epath.Path,
    dataset: Dataset,
    *,
    step: int | None,
    split: str,
) -> dict[str, Any]:
    """Scores one checkpoint on one split.

    Args:
      config: Of the run.
      workdir: Of the run.
      dataset: Its own or another one with the same labels.
      step: Which checkpoint; None takes the best, or the latest where none was measured.
      split: Which frames.

    Returns:
      {"step", "split", "dataset", "trained_on", "frames", "images_per_second", "learning": {head:
      see `heads.learning_text`}, "heads": {head: see `metrics.score`}, "windowed": see
      `windowed.windowed_scores`, "side_cameras": see `side_cameras.responses`, "correlation": see
      `correlation.correlation`, "assumed_rate": see `verdict.assumed_rate`}; dataset is its
      fingerprint, trained_on that of the run's, None where it is not known.

    Raises:
      UserError: There is no such checkpoint or the split is empty.
    """
    restored = restore(config, workdir, dataset, step)
    found = _predictions(restored, dataset, split)
    labels = {name: values[found.ids] for name, values in dataset.labels.items()}
    heads = found.heads
    return {
        "step": found.step,
        "split": split,
        "dataset": dataset.manifest["fingerprint"],
        "trained_on": found.trained_on,
        "frames": len(found.ids),
        "images_per_second": len(found.ids) / found.seconds,
        "learning": {name: learning_text(head) for name, head in heads.items()},
        "heads": metrics.scores_of(heads, found.targets, labels),
        "windowed": windowed.windowed_scores(heads, dataset, found.ids, found.targets),
        "side_cameras": side_cameras.responses(heads, dataset, split, restored.predicted),
        "correlation": correlation.correlation(heads, found.targets, labels),
        "assumed_rate": verdict.assumed_rate(dataset.manifest),
    }


def existing(
    workdir: epath.Path, dataset: Dataset, *, step: int, split: str
) -> dict[str, Any] | None:
    """The result in `workdir` of this checkpoint on this split; None where it is of another."""
    found: dict[str, Any] = workdirs.read_json(workdir / FILE) or {}
    wanted = {"step": step, "split": split, "dataset": dataset.manifest["fingerprint"]}
    return found if wanted.items() <= found.items() else None


def predict(
    config: Mapping[str, Any],
    workdir: epath.Path,
    dataset: Dataset,
    *,
    step: int | None,
    split: str,
) -> Predictions:
    """What one checkpoint says to every frame of one split; takes and raises what `evaluate` does.

    Only frames of the camera that drives count.
    """
    return _predictions(restore(config, workdir, dataset, step), dataset, split)


@dataclasses.dataclass(frozen=True)
class Restored:
    """A checkpoint that answers.

    Attributes:
      step: Of the checkpoint.
      trained_on: Fingerprint of the run's dataset; None where no checkpoint tells it.
      heads: By name.
      predicted: Gives by head name the predictions for records (int32 [n]) of the dataset, in the
        range of the head's target, float32 [n].
    """

    step: int
    trained_on: str | None
    heads: Mapping[str, Head]
    predicted: Callable[[np.ndarray], dict[str, np.ndarray]]


def restore(
    config: Mapping[str, Any], workdir: epath.Path, dataset: Dataset, step: int | None
) -> Restored:
    """A checkpoint, restored to answer to frames of a dataset; takes and raises as `evaluate`."""
    found = restore_network(config, workdir, dataset.image_shape, step=step)
    network = found.network
    examples = make_examples(config, dataset, network.heads)
    variables = network.partition.put_state(found.variables)

    def predicted(records: np.ndarray) -> dict[str, np.ndarray]:
        return predict_frames(
            network.predict,
            network.partition,
            variables,
            examples,
            records,
            batch_size=prediction_rows(config),
            threads=config["loader"]["threads"],
        )

    return Restored(found.step, found.trained_on, network.heads, predicted)


def _predictions(restored: Restored, dataset: Dataset, split: str) -> Predictions:
    ids = dataset.driving_ids(split)
    if not len(ids):
        counts = ", ".join(f"{name}: {len(dataset.driving_ids(name))}" for name in SPLITS)
        raise UserError(
            f"the dataset in {dataset.path} has no {split} frames ({counts}): use --split"
        )
    restored.predicted(ids[:1])  # Compiles, which is no part of the speed of evaluation.
    started = time.perf_counter()
    targets = restored.predicted(ids)
    seconds = time.perf_counter() - started
    return Predictions(restored.step, restored.trained_on, restored.heads, ids, targets, seconds)


def remarks(
    config: Mapping[str, Any], dataset: Dataset, result: Mapping[str, Any]
) -> Iterator[str]:
    """What a reader has to know: of labels out of range, of clocks, and of frames trained on."""
    heads, ids = heads_from_config(config["heads"]), dataset.driving_ids(result["split"])
    for name, told in beyond_bins(heads, dataset, ids).items():
        yield f"Head {name} has {told}. In errors and skill such labels count as the nearer end"
    if result["assumed_rate"] is not None and result["windowed"]:
        yield verdict.clock_remark(result["assumed_rate"])
    if other := other_dataset(config, dataset, result["trained_on"]):
        yield other


def other_dataset(config: Mapping[str, Any], dataset: Dataset, trained_on: str | None) -> str:
    """What is said where a run was trained on another dataset; "" where that was asked for."""
    here = dataset.manifest["fingerprint"]
    if config["data"]["prepared"] or trained_on in (None, *fingerprints(config["data"])):
        return ""
    return (
        f"The run was trained on the dataset {trained_on}, this is {here}: recordings or settings"
        " have changed since, or another jaxdrive reads them, and frames may have another split"
        " than they had. The former is evaluated with"
        f" --config.data.prepared={config['data']['dir']}/{trained_on}"
    )


def table(result: Mapping[str, Any]) -> list[str]:
    """Lines of text: how well the network follows the driver, then errors of single images."""
    return [
        f"step {result['step']} on {result['frames']} {result['split']} frames"
        f" ({result['images_per_second']:,.0f} images/s)",
        *(f"{name}: {text}" for name, text in result["learning"].items()),
        *windowed.lines(result["windowed"]),
        *side_cameras.lines(result["side_cameras"]),
        *verdict.lines(result),
        "",
        "single images; skill: 1 = perfect, 0 = best constant",
        *metrics.table(result["heads"]),
        *verdict.mae_remarks(result["heads"]),
        *correlation.table(result["correlation"]),
    ]
