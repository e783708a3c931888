"""The pictures that a run draws when it measures: what it was given, and how it does.

Held-out frames are the same at every measurement and in every run on the same dataset and heads, so
that pictures of different steps and runs can be compared. How a sheet is drawn stands in
`contact_sheet.py`, where it is written in `writers.py`.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxdrive.bins import bin_index
from jaxdrive.data.dataset import Dataset
from jaxdrive.heads import Head, controls, targets
from jaxdrive.training.contact_sheet import contact_sheet
from jaxdrive.training.heldout import HeldOut
from jaxdrive.training.parts import Trainer

_INPUTS = 8
_HELD_OUT = 12
_COLUMNS = 4


def pictures(
    trainer: Trainer, batch: Mapping[str, Any], held_out: HeldOut, step: int
) -> dict[str, np.ndarray]:
    """By name, the sheets of one measurement; none in processes that write nothing."""
    if jax.process_index() != 0:
        return {}
    return {"validation/frames": held_out_sheet(trainer, held_out, step)} | _inputs(trainer, batch)


def _inputs(trainer: Trainer, batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A sheet for every head of what it was just given, before views and random changes."""
    heads, dataset = trainer.network.heads, trainer.examples.dataset
    return {
        f"inputs/{head}": contact_sheet(
            part["inputs"]["image"][:_INPUTS],
            [_caption(dataset, record) for record in part["record"][:_INPUTS]],
            {
                "label": {
                    name: controls(heads[name], values[:_INPUTS])
                    for name, values in part["labels"].items()
                }
            },
            heads,
            title=[f"Some of what {head} was given, before views and random changes"],
            columns=_COLUMNS,
        )
        for head, part in batch.items()
    }


def _caption(dataset: Dataset, record: int) -> list[str]:
    return [f"record {record}, {dataset.cameras[record]} camera"]


def held_out_sheet(trainer: Trainer, held_out: HeldOut, step: int) -> np.ndarray:
    """Some validation frames with what was recorded and what is predicted.

    Args:
      trainer: Whose dataset and heads are shown.
      held_out: Predictions for all validation frames.
      step: At which they were made.

    Returns:
      uint8 [rows, columns, 3].
    """
    heads, dataset = trainer.network.heads, trainer.examples.dataset
    chosen = spread_records(dataset, heads, held_out.records, count=_HELD_OUT)
    places = np.searchsorted(held_out.records, np.concatenate(list(chosen.values())))
    records = held_out.records[places]
    captions = [
        [f"{dataset.sessions[record]}, {dataset.times[record]:.1f} s", f"chosen for its {name}"]
        for name, ids in chosen.items()
        for record in ids
    ]
    values = {
        "label, as recorded": {
            name: dataset.labels[head.label][records] for name, head in heads.items()
        },
        "prediction": {
            name: controls(head, held_out.predictions[name][places]) for name, head in heads.items()
        },
    }
    title = [f"Held-out frames at step {step:,}: always the same ones"]
    images = trainer.examples.reader.read(records)
    return contact_sheet(images, captions, values, heads, title=title, columns=_COLUMNS)


def spread_records(
    dataset: Dataset, heads: Mapping[str, Head], ids: np.ndarray, *, count: int
) -> dict[str, np.ndarray]:
    """Records whose labels cover the range of every head.

    Heads take turns until `count` places are given out, none more than it has non-empty bins. A
    head's places are spread evenly over those bins; the record in the middle of each is taken. So
    the choice depends on labels and bins alone.

    Args:
      dataset: Where labels and cameras come from.
      heads: By name.
      ids: The records to choose from, int32 [n], ascending.
      count: Records to choose at most.

    Returns:
      By head name, records in order of its target, int32; no record twice.
    """
    bins = {}
    for name, head in heads.items():
        learned = targets(head, dataset.labels[head.label][ids], dataset.cameras[ids])
        index = bin_index(head.bins, learned)
        bins[name] = [ids[index == number] for number in np.unique(index)]
    places = dict.fromkeys(heads, 0)
    for turn in range(max(map(len, bins.values()))):
        for name in heads:
            places[name] += sum(places.values()) < count and turn < len(bins[name])
    taken = np.zeros(0, np.int32)
    chosen = {}
    for name in heads:
        spread = np.linspace(0, len(bins[name]) - 1, places[name]).round().astype(int)
        free = [np.setdiff1d(bins[name][number], taken) for number in spread]
        middles = [records[len(records) // 2] for records in free if len(records)]
        chosen[name] = np.asarray(middles, np.int32)
        taken = np.concatenate([taken, chosen[name]])
    return chosen
