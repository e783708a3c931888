"""Changes pictures and their targets together, at random, inside the train step.

In this order: mirror, shift, brightness, gamma, colour mix. Every random number comes from the
run's seed, the batch's position, the head and the row of the global batch, never from the device,
so that any number of devices sees the same. Evaluation and driving do not pass here.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp

from jaxdrive.heads import Head
from jaxdrive.training.randomness import row_keys

KINDS = ("flip", "shift", "brightness", "gamma", "colour_mix")
_COLOURS = ("brightness", "gamma", "colour_mix")
# By kind, the settings of which one has to be above 0 for it to do anything.
_STRENGTHS = {
    "flip": ("probability",),
    "shift": ("sideways", "along"),
    "brightness": ("spread",),
    "gamma": ("spread",),
    "colour_mix": ("spread", "offset", "invert"),
}

Settings = Mapping[str, Mapping[str, Any]]


@flax.struct.dataclass
class Changes:
    """What happens to every picture of a batch of b.

    Attributes:
      flip: Whether it is mirrored, bool [b].
      shift: Pixels that its content moves to the right and down, int32 [b, 2].
      brightness: Factor on its values, float32 [b].
      gamma: Exponent of its values in 0 to 1, float32 [b].
      mix: Matrix that makes new colours of its red, green and blue, float32 [b, 3, 3].
      offset: What is added to each colour, in 0 to 1, float32 [b, 3].
    """

    flip: Any
    shift: Any
    brightness: Any
    gamma: Any
    mix: Any
    offset: Any


def active(settings: Settings) -> tuple[str, ...]:
    """The kinds of change that `config.augment` asks for, of `KINDS`."""
    return tuple(
        kind for kind in KINDS if any(settings[kind][name] > 0 for name in _STRENGTHS[kind])
    )


def make_augment(
    settings: Settings, heads: Mapping[str, Head], *, seed: int
) -> Callable[..., dict[str, Any]]:
    """Builds the function that changes a batch.

    Args:
      settings: `config.augment`, its schedules as ((step, factor), ...).
      heads: By name, in the order in which their batches pass.
      seed: The run's seed.

    Returns:
      augment(batch, position=, step=, first_row=) -> batch of the same shapes and dtypes: by head
      its part with new "inputs" and "labels". position is the batch's number, step the updates made
      so far, first_row the global row of its first example; each an int32 scalar.
    """
    kinds = active(settings)

    def augment(
        batch: Mapping[str, Any], *, position: jax.Array, step: jax.Array, first_row: jax.Array
    ) -> dict[str, Any]:
        changed = {}
        for name in heads:
            part = batch[name]
            rows = first_row + jnp.arange(len(part["mask"]), dtype=jnp.int32)
            changes = draw(
                settings,
                seed=seed,
                head=list(heads).index(name),
                position=position,
                step=step,
                rows=rows,
            )
            image = change_images(kinds, changes, part["inputs"]["image"])
            labels = {
                head: change_targets(
                    kinds, changes, heads[head], values, part["mirrored"][head], settings
                )
                for head, values in part["labels"].items()
            }
            inputs = {**part["inputs"], "image": image}
            changed[name] = {**part, "inputs": inputs, "labels": labels}
        return changed

    return augment


def draw(
    settings: Settings, *, seed: int, head: int, position: Any, step: Any, rows: Any
) -> Changes:
    """What happens to the rows of one head's batch.

    Args:
      settings: As `make_augment` takes them.
      seed: The run's seed.
      head: The head's place among all.
      position: The batch's number.
      step: Updates made so far, for the schedules.
      rows: Rows of the global batch, int32 [b].
    """
    factors = {kind: _factor(settings[kind]["schedule"], step) for kind in KINDS}
    keys = row_keys(seed=seed, position=position, head=head, rows=rows)
    return jax.vmap(lambda key: _draw_one(settings, factors, key))(keys)


def _factor(schedule: Any, step: Any) -> jax.Array:
    """The strength at `step`: linear between ((step, factor), ...), held at both ends."""
    if not schedule:
        return jnp.ones((), jnp.float32)
    steps, factors = (jnp.asarray(column, jnp.float32) for column in zip(*schedule, strict=True))
    return jnp.interp(jnp.asarray(step, jnp.float32), steps, factors)


def _draw_one(settings: Settings, factors: Mapping[str, jax.Array], key: jax.Array) -> Changes:
    keys = {kind: jax.random.fold_in(key, number) for number, kind in enumerate(KINDS)}
    which, signs, entries, levels = jax.random.split(keys["colour_mix"], 4)
    extent = jnp.asarray([settings["shift"]["sideways"], settings["shift"]["along"]], jnp.float32)
    extent = jnp.round(extent * factors["shift"])
    places = jnp.floor(jax.random.uniform(keys["shift"], (2,), jnp.float32) * (2 * extent + 1))
    mix, strength = settings["colour_mix"], factors["colour_mix"]
    inverted = _uniform(signs, 3) < mix["invert"] * strength
    diagonal = jnp.diag(jnp.where(inverted, jnp.float32(-1), jnp.float32(1)))
    mixed = _uniform(which) < mix["probability"]
    matrix = diagonal + mix["spread"] * strength * _symmetric(entries, 3, 3)
    offset = mix["offset"] * strength * _symmetric(levels, 3)
    return Changes(
        flip=_uniform(keys["flip"]) < settings["flip"]["probability"] * factors["flip"],
        shift=(places - extent).astype(jnp.int32),
        brightness=1
        + settings["brightness"]["spread"] * factors["brightness"] * _symmetric(keys["brightness"]),
        gamma=jnp.exp(settings["gamma"]["spread"] * factors["gamma"] * _symmetric(keys["gamma"])),
        mix=jnp.where(mixed, matrix, jnp.eye(3, dtype=jnp.float32)),
        offset=jnp.where(mixed, offset, jnp.float32(0)),
    )


def _uniform(key: jax.Array, *shape: int) -> jax.Array:
    return jax.random.uniform(key, shape, jnp.float32)


def _symmetric(key: jax.Array, *shape: int) -> jax.Array:
    return jax.random.uniform(key, shape, jnp.float32, -1, 1)


def change_images(kinds: tuple[str, ...], changes: Changes, images: jax.Array) -> jax.Array:
    """Carries out the changes of `kinds` on pictures: uint8 [b, H, W, 3] to the same.

    Where a shift moves the border into the picture, the border's pixels are repeated. Colours are
    mixed about mid-grey and clipped, after which values are rounded.
    """
    if "flip" in kinds:
        images = jnp.where(changes.flip[:, None, None, None], images[:, :, ::-1], images)
    if "shift" in kinds:
        images = jax.vmap(_shift_one)(images, changes.shift)
    if not set(_COLOURS) & set(kinds):
        return images
    values = images.astype(jnp.float32) / 255
    if "brightness" in kinds:
        values = jnp.clip(values * changes.brightness[:, None, None, None], 0, 1)
    if "gamma" in kinds:
        # A quarter of the power function's time on CPU; the logarithm of black is minus infinity.
        values = jnp.exp(changes.gamma[:, None, None, None] * jnp.log(values))
    if "colour_mix" in kinds:
        centred = values - 0.5
        # As sums, which fuse with what is around them; a product of matrices so small does not.
        mixed = sum(
            centred[..., colour, None] * changes.mix[:, None, None, colour] for colour in range(3)
        )
        values = jnp.clip(mixed + 0.5 + changes.offset[:, None, None], 0, 1)
    return jnp.round(values * 255).astype(jnp.uint8)


def _shift_one(image: jax.Array, shift: jax.Array) -> jax.Array:
    rows = jnp.clip(jnp.arange(image.shape[0]) - shift[1], 0, image.shape[0] - 1)
    columns = jnp.clip(jnp.arange(image.shape[1]) - shift[0], 0, image.shape[1] - 1)
    return image[rows][:, columns]


def change_targets(
    kinds: tuple[str, ...],
    changes: Changes,
    head: Head,
    targets: jax.Array,
    mirrored: jax.Array,
    settings: Settings,
) -> jax.Array:
    """Carries out the changes of `kinds` on one head's targets.

    Args:
      kinds: Of `KINDS`.
      changes: Of every row.
      head: Whose targets they are.
      targets: Of the pictures as recorded, float32 [b].
      mirrored: Of the mirrored pictures, float32 [b].
      settings: `config.augment`: shift.label_per_pixel gives by head what its label changes by for
        every pixel to the right.

    Returns:
      float32 [b] in [head.low, head.high].
    """
    if "flip" in kinds:
        targets = jnp.where(changes.flip, mirrored, targets)
    per_pixel = settings["shift"]["label_per_pixel"].get(head.name, 0.0)
    if "shift" in kinds and per_pixel:
        moved = changes.shift[:, 0].astype(jnp.float32) * jnp.float32(per_pixel / head.scale)
        targets = jnp.clip(targets + moved, head.low, head.high)
    return targets
