"""What several runs have in common and what not: names, frames, settings, and what to beware of.

Pure functions of what runs left behind; who reads it is compare.py, who shows it compare_page.py.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from jaxdrive.data.dataset import Dataset
from jaxdrive.evaluation import verdict
from jaxdrive.evaluation.results import Json

ABSENT = "\N{EN DASH}"


def short_names(paths: Sequence[str]) -> list[str]:
    """The shortest ends of different paths that tell them apart, less what all of them end on.

    runs/a, runs/b -> a, b; a/seed1, b/seed1 -> a, b; a/seed1, a/seed2, b/seed1 -> as they are.
    """
    parts = [PurePosixPath(path).parts for path in paths]
    kept = 1
    while len({path[-kept:] for path in parts}) < len(parts):
        kept += 1
    ends = [path[-kept:] for path in parts]
    while min(map(len, ends)) > 1 and len({end[-1] for end in ends}) == 1:
        ends = [end[:-1] for end in ends]
    return ["/".join(end) for end in ends]


def same_frames(
    frames: Sequence[tuple[Dataset, np.ndarray]], labels: Sequence[str]
) -> list[int | None]:
    """A number for every run, equal where frames are: 1 for the first one's; None for no frames.

    Two frames are the same where session, time and labels are: a picture may be cropped or resized
    in another way, and a dataset may hold other training frames.

    Args:
      frames: Every run's dataset and record ids.
      labels: Labels to look at, which every dataset has.
    """
    known: dict[str, int] = {}
    numbers = []
    for dataset, ids in frames:
        order = ids[np.lexsort((dataset.times[ids], dataset.sessions[ids]))]
        content = hashlib.sha256("\n".join(dataset.sessions[order]).encode())
        content.update(dataset.times[order].tobytes())
        for label in labels:
            # Minus zero is zero.
            content.update((dataset.labels[label][order] + np.float32(0)).tobytes())
        number = known.setdefault(content.hexdigest(), len(known) + 1) if len(ids) else None
        numbers.append(number)
    return numbers


def facts_of(
    config: Mapping[str, Any],
    run: Mapping[str, Any],
    drive: Mapping[str, Any] | None,
    lines: Sequence[Mapping[str, Any]],
    step: int,
) -> Json:
    """What is told of one run beside its scores.

    Args:
      config: Its configuration.
      run: Its run.json.
      drive: Its drive.json; None where it was not driven.
      lines: Of its metrics.jsonl.
      step: Of the checkpoint that is compared.

    Returns:
      {"step", "steps_done", "num_steps", "state", "samples_per_head", "epochs", "batch_size",
      "balance", "seed", "backbone", "parameters", "train_seconds", "driving", "changes"}; None
      for what is not known.
    """
    last = lines[-1] if lines else {}
    done = int(last.get("step", step))
    planned = run.get("durations", {}).get("num_steps")
    driven = ("step", "mean", "std", "finished", "domain_randomize")
    return {
        "step": step,
        "steps_done": done,
        "num_steps": planned,
        "state": _state(done, planned, run.get("stopped")),
        "samples_per_head": last.get("train/samples_per_head"),
        "epochs": last.get("train/epoch"),
        "batch_size": config["batch_size"],
        "balance": config["balance"],
        "seed": config["seed"],
        "backbone": config["model"]["backbone"],
        "parameters": run.get("parameters"),
        "train_seconds": run.get("wall_time_seconds", {}).get("train"),
        "driving": None
        if drive is None
        else {name: drive.get(name) for name in driven} | {"tracks": len(drive["tracks"])},
        "changes": [
            f"step {change['step']}: {change['field']} {_text(change['before'])} to"
            f" {_text(change['after'])}"
            for change in run.get("changes", [])
        ],
    }


def _state(done: int, planned: int | None, stopped: str | None) -> str:
    if planned is None or done >= planned:
        return "finished"
    return "stopped early" if stopped else "not finished"


def differences(documents: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Fields in which not all documents agree: [{"field", "values": [text by document]}].

    A group of fields that a document lacks altogether is one row.
    """
    return [
        {"field": field, "values": [_text(value) for value in values]}
        for field, values in _differing("", documents)
    ]


# Stands for a field that is not there, since None is a value.
_MISSING = object()


def _differing(prefix: str, documents: Sequence[Any]) -> Iterator[tuple[str, list[Any]]]:
    for name in dict.fromkeys(name for document in documents for name in document):
        values = [document.get(name, _MISSING) for document in documents]
        if all(isinstance(value, Mapping) for value in values):
            yield from _differing(f"{prefix}{name}.", values)
        elif any(value != values[0] for value in values):
            yield f"{prefix}{name}", values


def _text(value: Any) -> str:
    if value is _MISSING:
        return ABSENT
    if isinstance(value, Mapping):
        return "there"
    return value if isinstance(value, str) and value else json.dumps(value)


def warnings(runs: Sequence[Json], configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader of the comparison has to beware of, a sentence or two each.

    Args:
      runs: As `compare.compare` tells them.
      configs: Their configurations.
    """
    found = [
        f"{run['name']} has no test frames: it is scored on its validation frames, by which its"
        " checkpoint was chosen, so its numbers are somewhat too good."
        for run in runs
        if run["split"] == "validation"
    ]
    if sets := _sets(runs, "frame_set"):
        found.append(
            f"The runs were not scored on the same frames: {sets}. Results of different sets are"
            " not comparable."
        )
    if sets := _sets(runs, "validation_set"):
        found.append(
            "The held-out learning curves were not measured on the same validation frames:"
            f" {sets}. Curves of different sets are not comparable."
        )
    found += [
        f"{run['name']}: {verdict.clock_remark(run['assumed_rate'])}."
        for run in runs
        if run["assumed_rate"] is not None and run["windowed"]
    ]
    for name in dict.fromkeys(name for run in runs for name in run["heads"]):
        found += _about_head(name, runs, configs)
    found += [
        f"{run['name']} is not finished: it has made {run['steps_done']:,} of"
        f" {run['num_steps']:,} steps."
        for run in runs
        if run["state"] == "not finished"
    ]
    return found


def _sets(runs: Sequence[Json], kind: str) -> str:
    """Which runs share which set of frames; empty where all share one."""
    numbers = sorted({run[kind] for run in runs if run[kind] is not None})
    if len(numbers) < 2:
        return ""
    members = {n: ", ".join(run["name"] for run in runs if run[kind] == n) for n in numbers}
    return "; ".join(f"set {number}: {names}" for number, names in members.items())


def _about_head(
    name: str, runs: Sequence[Json], configs: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    having = [
        (run, config["heads"][name])
        for run, config in zip(runs, configs, strict=True)
        if name in run["heads"]
    ]
    labels = {run["name"]: head["label"] for run, head in having}
    if len(set(labels.values())) > 1:
        told = ", ".join(f"{label!r} in {run}" for run, label in labels.items())
        yield f"The head {name} has different labels ({told}): its rows have different truths."
    bins = {
        json.dumps([[edge * head["scale"] for edge in head["bins"][kind]] for kind in head["bins"]])
        for _, head in having
    }
    if len(bins) > 1:
        yield (
            f"The runs divide the label of {name} into different bins: the table uses one division"
            " for all, but the curves of balanced skill were measured while training, each with"
            " its own."
        )
