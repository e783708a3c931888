"""What the train step is given at any position, changed as the step changes it.

Plans and random changes are functions of the position, so a batch is made again without training.
Showing it is left to `inspect.py`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdrive.data.dataset import Dataset
from jaxdrive.data.loader import Rows, train_batches
from jaxdrive.heads import Head, controls, heads_from_config
from jaxdrive.training.augment import Changes, active, draw
from jaxdrive.training.parts import augment_of, make_examples, plans_of, supervise_of


@dataclasses.dataclass(frozen=True)
class Replayed:
    """The batch of one head, all rows of the global batch in order.

    Attributes:
      records: int32 [B].
      images: After the changes, uint8 [B, H, W, 3].
      recorded: By name of the heads that learn from it, labels as recorded, float32 [B].
      learned: By the same names, what is learned instead: with the camera's correction and the
        changes, cut to the head's range, in the label's unit, float32 [B].
      changes: What happened to each picture, in words.
    """

    records: np.ndarray
    images: np.ndarray
    recorded: Mapping[str, np.ndarray]
    learned: Mapping[str, np.ndarray]
    changes: Sequence[str]


def replay(config: Mapping[str, Any], dataset: Dataset, *, position: int) -> dict[str, Replayed]:
    """By head name, the batch of a position as the train step sees it.

    Args:
      config: Of a run, with its durations in steps.
      dataset: To draw from.
      position: Number of the batch, from 0. Schedules of changes go by the updates made, which are
        taken to be as many: true unless updates were skipped for not being finite.

    Raises:
      UserError: Settings and data do not fit together.
    """
    heads = heads_from_config(config["heads"])
    examples = make_examples(config, dataset, heads)
    batch = next(
        train_batches(
            examples,
            plans_of(config, dataset, heads),
            supervise=supervise_of(config),
            position=position,
            rows=Rows(),
            threads=1,
            prefetch=1,
        )
    )
    batch, changes = _change(config, heads, batch, position)
    kinds = active(config["augment"])
    return {
        name: Replayed(
            records=part["record"],
            images=part["inputs"]["image"],
            recorded={
                head: dataset.labels[heads[head].label][part["record"]] for head in part["labels"]
            },
            learned={
                head: controls(heads[head], values) for head, values in part["labels"].items()
            },
            changes=[_in_words(kinds, changes[name], row) for row in range(config["batch_size"])],
        )
        for name, part in batch.items()
    }


def _change(
    config: Mapping[str, Any], heads: Mapping[str, Head], batch: Any, position: int
) -> tuple[Any, dict[str, Changes]]:
    """The batch after the changes of its position, and by head name what they are."""
    augment = augment_of(config, heads)

    def change(batch: Any, number: jax.Array) -> tuple[Any, dict[str, Changes]]:
        rows = jnp.arange(config["batch_size"], dtype=jnp.int32)
        settings = {"seed": config["seed"], "position": number, "step": number, "rows": rows}
        changes = {
            name: draw(config["augment"], head=place, **settings)
            for place, name in enumerate(heads)
        }
        if augment is not None:
            first_row = jnp.zeros((), jnp.int32)
            batch = augment(batch, position=number, step=number, first_row=first_row)
        return batch, changes

    return jax.device_get(jax.jit(change)(batch, jnp.asarray(position, jnp.int32)))


def _in_words(kinds: Sequence[str], changes: Changes, row: int) -> str:
    """For example "flipped, shift +3/-1, brightness 0.83": pixels to the right and down."""
    mixed = (changes.mix[row] != np.eye(3)).any() or changes.offset[row].any()
    right, down = changes.shift[row]
    words = {
        "flip": "flipped" if changes.flip[row] else "",
        "shift": f"shift {right:+d}/{down:+d}" if right or down else "",
        "brightness": f"brightness {changes.brightness[row]:.2f}",
        "gamma": f"gamma {changes.gamma[row]:.2f}",
        "colour_mix": "colours mixed" if mixed else "",
    }
    return ", ".join(words[kind] for kind in kinds if words[kind]) or "unchanged"
