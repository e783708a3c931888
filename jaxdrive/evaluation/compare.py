"""Several runs on one footing: what each is worth on held-out frames, and what makes them differ.

Losses of runs whose heads are balanced, binned, scaled or scored in different ways say nothing
about each other.
So every run's checkpoint predicts its held-out frames once more here, errors are taken in the
label's unit against the label as recorded, and "balanced" means the bins of one agreed head for
all runs: that of the first one named which has it. Reads the compared workdirs and changes nothing
in them. What runs have in common stands in compare_facts.py, pictures and page in compare_page.py.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from jaxdrive import workdir as workdirs
from jaxdrive.bins import bin_index
from jaxdrive.data.dataset import Dataset
from jaxdrive.data.prepare import prepare
from jaxdrive.errors import UserError
from jaxdrive.evaluation import compare_facts, offline, results, verdict
from jaxdrive.evaluation.results import Json
from jaxdrive.heads import Head, bin_texts, controls, targets
from jaxdrive.logs import logger
from jaxdrive.training import metrics, windowed

FILE = "compare.json"


@dataclasses.dataclass(frozen=True)
class Run:
    """One of the runs, with what its checkpoint says to held-out frames.

    Attributes:
      name: Short, other than that of every other run.
      workdir: Its folder.
      config: Its configuration.
      dataset: Its own.
      split: Of the frames that it is scored on.
      predictions: Of its best checkpoint, or the latest where none was measured.
    """

    name: str
    workdir: epath.Path
    config: Mapping[str, Any]
    dataset: Dataset
    split: str
    predictions: offline.Predictions


def compare(compared: Sequence[epath.Path]) -> Json:
    """Compares runs.

    Args:
      compared: Their workdirs, each with a checkpoint; two or more.

    Returns:
      {"heads": {head: {"label", "unit", "bins_of", "bins": [text]}}, "runs": [{"name", "workdir",
      "split", "frames", "frame_set", "validation_set", "windowed", "assumed_rate", facts as
      `compare_facts.facts_of` gives them, "heads": {head: {"scale", and what `fixed_score`
      gives}}}], "differences": [{"field", "values": [text by run]}], "warnings": [text]}. Runs of
      the same frame_set were scored on the same frames; validation_set says it of the frames
      measured while training.

    Raises:
      UserError: A run has no configuration, no checkpoint or no held-out frames.
    """
    names = compare_facts.short_names([str(workdir) for workdir in compared])
    runs = [_read(name, workdir) for name, workdir in zip(names, compared, strict=True)]
    agreed, bins_of = agreed_heads({run.name: run.predictions.heads for run in runs})
    labels = _common_labels(runs)
    sets = {
        "frame_set": compare_facts.same_frames(
            [(run.dataset, run.predictions.ids) for run in runs], labels
        ),
        "validation_set": compare_facts.same_frames(
            [(run.dataset, run.dataset.driving_ids("validation")) for run in runs], labels
        ),
    }
    told = [_tell(run, agreed) for run in runs]
    for name, numbers in sets.items():
        for run, number in zip(told, numbers, strict=True):
            run[name] = number
    documents = [_documents(run) for run in runs]
    return {
        "heads": {
            name: {
                "label": head.label,
                "unit": head.unit,
                "bins_of": bins_of[name],
                "bins": bin_texts(head),
            }
            for name, head in agreed.items()
        },
        "runs": told,
        "differences": compare_facts.differences(documents),
        "warnings": compare_facts.warnings(told, [run.config for run in runs]),
    }


def agreed_heads(
    heads: Mapping[str, Mapping[str, Head]],
) -> tuple[dict[str, Head], dict[str, str]]:
    """For every head that any run has, its definition in the first run that has it, and that run.

    Args:
      heads: By the run's name, in the order in which they were named, its heads.
    """
    agreed: dict[str, Head] = {}
    owners: dict[str, str] = {}
    for run, own in heads.items():
        for name, head in own.items():
            if name not in agreed:
                agreed[name], owners[name] = head, run
    return agreed, owners


def fixed_score(agreed: Head, head: Head, predictions: np.ndarray, labels: np.ndarray) -> Json:
    """How one run's head does, measured by an agreed head: range and scale of its own cancel out.

    Where all labels lie in the head's range, and it is the agreed one, this says what
    `metrics.score` says. Labels outside of a range are not clipped to it, so that a run gains
    nothing by a narrow range.

    Args:
      agreed: Whose bins make the balanced distribution.
      head: The run's own.
      predictions: In the range of the run's target, [N].
      labels: As recorded, [N].

    Returns:
      {"natural": {"mae", "rmse", "skill"}, "balanced": the same, "constant": see
      `metrics.constant_answer`, "bins": [{"frames", "mae"}]}; mae and rmse in the label's unit; mae
      of predictions as a car would be given them, within the head's range.
    """
    recorded = labels.astype(np.float64)
    squared = np.square((predictions.astype(np.float64) * head.scale - recorded) / agreed.scale)
    absolute = np.abs(controls(head, predictions).astype(np.float64) - recorded)
    index = bin_index(agreed.bins, targets(agreed, labels))
    frames = np.bincount(index, minlength=len(agreed.bins))
    sums = np.bincount(index, weights=absolute, minlength=len(agreed.bins))
    score: Json = {
        "constant": metrics.constant_answer(agreed, recorded),
        "bins": [
            {"frames": int(count), "mae": float(total / count) if count else None}
            for count, total in zip(frames, sums, strict=True)
        ],
    }
    for kind, weights in (("natural", np.ones(len(labels))), ("balanced", 1 / frames[index])):
        values = metrics.weighted_score(squared, absolute, recorded / agreed.scale, weights)
        score[kind] = {
            "mae": values["mae"],
            "rmse": math.sqrt(values["mse"]) * agreed.scale,
            "skill": values["skill"],
        }
    return score


def _read(name: str, workdir: epath.Path) -> Run:
    config = workdirs.read_config(workdir)
    dataset = prepare(config["data"])
    held_out = [split for split in ("test", "validation") if len(dataset.driving_ids(split))]
    if not held_out:
        raise UserError(
            f"the run in {workdir} cannot be compared: its dataset in {dataset.path} has neither"
            " test nor validation frames. Leave it out of --workdirs, or train on a dataset with"
            " held-out frames"
        )
    predictions = offline.predict(config, workdir, dataset, step=None, split=held_out[0])
    logger.info(
        "%s: step %d on %d %s frames",
        name,
        predictions.step,
        len(predictions.ids),
        held_out[0],
    )
    if other := offline.other_dataset(config, dataset, predictions.trained_on):
        logger.warning("%s: %s", name, other)
    return Run(name, workdir, config, dataset, held_out[0], predictions)


def _common_labels(runs: Sequence[Run]) -> list[str]:
    """Labels that some head learns and that every dataset has."""
    learned = {head.label for run in runs for head in run.predictions.heads.values()}
    return sorted(learned.intersection(*(run.dataset.labels for run in runs)))


def _tell(run: Run, agreed: Mapping[str, Head]) -> Json:
    found = run.predictions
    files = {name: results.read_json(run.workdir / f"{name}.json") for name in ("run", "drive")}
    lines = results.read_lines(run.workdir / "metrics.jsonl")
    return {
        "name": run.name,
        "workdir": str(run.workdir),
        "split": run.split,
        "frames": len(found.ids),
        "dataset": run.dataset.manifest["fingerprint"],
        "training_frames": len(run.dataset.ids("train")),
        "windowed": windowed.windowed_scores(found.heads, run.dataset, found.ids, found.targets),
        "assumed_rate": verdict.assumed_rate(run.dataset.manifest),
        **compare_facts.facts_of(run.config, files["run"] or {}, files["drive"], lines, found.step),
        "heads": {
            name: {"label": head.label, "scale": head.scale}
            | fixed_score(
                agreed[name],
                head,
                found.targets[name],
                run.dataset.labels[head.label][found.ids],
            )
            for name, head in found.heads.items()
        },
    }


def _documents(run: Run) -> Json:
    """What is searched for differences."""
    known = workdirs.read_json(run.workdir / workdirs.RUN_FILE) or {}
    parts = {name: known[name] for name in ("versions", "machine") if name in known}
    settings = {
        name: value for name, value in run.config.items() if name not in workdirs.NO_PART_OF_A_RUN
    }
    return {**settings, **parts}
