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
from jaxdrive.views import TRANSFORMS


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
            views=config["views"],
            position=position,
            rows=Rows(),
            threads=1,
            prefetch=1,
        )
    )
    batch, changes = _change(config, heads, batch, position)
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
            changes=[
                _in_words(config["augment"], changes[name], part, row)
                for row in range(config["batch_size"])
            ],
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


def _in_words(
    settings: Mapping[str, Any], changes: Changes, part: Mapping[str, Any], row: int
) -> str:
    """For example "view: V x 0.25, flipped, shift +3/-1, brightness 0.83".

    Shifts are in pixels to the right and down, what is cropped, in rows above and below.
    """
    mixed = (changes.mix[row] != np.eye(3)).any() or changes.offset[row].any()
    right, down = changes.shift[row]
    above, below = changes.crop[row]
    words = {
        "flip": "flipped" if changes.flip[row] else "",
        "shift": f"shift {right:+d}/{down:+d}" if right or down else "",
        "crop": f"crop {above}/{below}" if above or below else "",
        "shadow": "shadow" if changes.shadow[row] != 1 else "",
        "brightness": f"brightness {changes.brightness[row]:.2f}",
        "contrast": f"contrast {changes.contrast[row]:.2f}",
        "gamma": f"gamma {changes.gamma[row]:.2f}",
        "saturation": f"saturation {changes.saturation[row]:.2f}",
        "hue": f"hue {changes.hue[row]:+.2f}",
        "colour_mix": "colours mixed" if mixed else "",
        "blur": f"blur {changes.blur[row]:.1f}",
        "noise": f"noise {changes.noise[row]:.3f}",
        "small_angles": "" if part["mask"][row] else "left out for its small angle",
    }
    kinds = active(settings)
    said = [text for kind, text in words.items() if kind in kinds and text]
    if "transform" in part:
        said = [_view_in_words(changes, part["transform"][row], row), *said]
    return ", ".join(said) or "unchanged"


def _view_in_words(changes: Changes, transform: int, row: int) -> str:
    """For example "view: V x 0.25, flipped", or "view: 50% of V x 0.25" under a schedule."""
    view, strength = TRANSFORMS[transform], float(changes.view[row])
    name = view.name.removesuffix(", flipped")
    if strength != 1 and name != "original":
        name = f"{strength:.0%} of {name}"
    return f"view: {name}" + ", flipped" * bool(view.mirrored and changes.view_flip[row])
