"""Changes pictures and their targets together, at random, inside the train step.

In this order: view, mirror, shift, crop, shadow, brightness, contrast, gamma, saturation, hue,
colour mix, blur, noise; values are rounded once, at the end. Then rows with small angles may be
taken out. Every random number comes from the run's seed, the batch's position, the head and the row
of the global batch, never from the device, so that any number of devices sees the same. Evaluation
and driving do not pass here. What is done to pixels stands in `pixels.py`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp

from jaxdrive.heads import Head
from jaxdrive.training import pixels
from jaxdrive.training.randomness import row_keys
from jaxdrive.training.scopes import AUGMENT, scope
from jaxdrive.views import TRANSFORMS

# The kinds of change, by kind the settings of which one has to be above 0 for it to do anything. A
# kind's place here is part of its random numbers: new ones come last.
_STRENGTHS = {
    "flip": ("probability",),
    "shift": ("sideways", "along"),
    "brightness": ("spread", "bias"),
    "gamma": ("spread",),
    "colour_mix": ("spread", "offset", "invert"),
    "crop": ("top", "bottom"),
    "shadow": ("probability",),
    "contrast": ("spread",),
    "saturation": ("spread",),
    "hue": ("spread",),
    "blur": ("sigma",),
    "noise": ("std",),
    "small_angles": ("probability",),
}
KINDS = tuple(_STRENGTHS)
# The place of the views' random numbers, which are drawn, no kind of change being asked for.
_VIEWS = len(KINDS)
# Kinds that leave the picture's values as they are.
_NO_VALUES = {"flip", "shift", "small_angles"}

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
      crop: Rows cut away above and below, int32 [b, 2].
      shadow: Factor on the lightness in the shadow, 1 where there is none, float32 [b].
      shadow_ends: Where its border leaves the top and the bottom edge, shares of the width,
        float32 [b, 2].
      shadow_left: Whether it lies to the left of its border, bool [b].
      contrast: Factor on the distance of its values from their mean, float32 [b].
      saturation: Factor on its saturation, float32 [b].
      hue: Turn of its hues, as a share of the circle, float32 [b].
      blur: Standard deviation of the Gaussian that it is blurred with, in pixels, float32 [b].
      noise: Standard deviation of the noise on its values in 0 to 1, float32 [b].
      noise_key: Data of the noise's random key, uint32 [b, 2].
      small_angles: Whether it is left out where its angle is small, bool [b].
      view: Strength of its view's change of brightness, float32 [b].
      view_flip: Whether a mirrored view is, bool [b].
    """

    flip: Any
    shift: Any
    brightness: Any
    gamma: Any
    mix: Any
    offset: Any
    crop: Any
    shadow: Any
    shadow_ends: Any
    shadow_left: Any
    contrast: Any
    saturation: Any
    hue: Any
    blur: Any
    noise: Any
    noise_key: Any
    small_angles: Any
    view: Any
    view_flip: Any


def active(settings: Settings) -> tuple[str, ...]:
    """The kinds of change that `config.augment` asks for, of `KINDS`."""
    return tuple(kind for kind in KINDS if any(settings[kind][name] for name in _STRENGTHS[kind]))


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
      its part with new "inputs", "labels" and "mask". position is the batch's number, step the
      updates made so far, first_row the global row of its first example; each an int32 scalar. A
      part with "transform", int32 [b], is changed to these views first.
    """

    def augment(
        batch: Mapping[str, Any], *, position: jax.Array, step: jax.Array, first_row: jax.Array
    ) -> dict[str, Any]:
        changed = {}
        for name in heads:
            with scope(AUGMENT, name):
                part = batch[name]
                changes = draw(
                    settings,
                    seed=seed,
                    head=list(heads).index(name),
                    position=position,
                    step=step,
                    rows=first_row + jnp.arange(len(part["mask"]), dtype=jnp.int32),
                )
                changed[name] = _change_part(settings, heads, part, changes)
        return changed

    return augment


def _change_part(
    settings: Settings, heads: Mapping[str, Head], part: Mapping[str, Any], changes: Changes
) -> dict[str, Any]:
    """The batch of one head after its changes."""
    kinds, transform = active(settings), part.get("transform")
    image = change_images(settings, changes, part["inputs"]["image"], transform)
    labels = {
        head: change_targets(
            kinds, changes, heads[head], values, part["mirrored"][head], settings, transform
        )
        for head, values in part["labels"].items()
    }
    mask, left_out = part["mask"], small(settings, heads, labels)
    if left_out is not None:
        mask = mask & ~(changes.small_angles & left_out)
    inputs = {**part["inputs"], "image": image}
    return {**part, "inputs": inputs, "labels": labels, "mask": mask}


def small(
    settings: Settings, heads: Mapping[str, Head], labels: Mapping[str, Any]
) -> jax.Array | None:
    """Which rows count as small angles, which may be left out: bool [b]; None where none may.

    Args:
      settings: As `make_augment` takes them.
      heads: By name.
      labels: By head name, the targets after all changes that the batch knows, float32 [b].
    """
    judged = settings["small_angles"]["head"]
    if "small_angles" not in active(settings) or judged not in labels:
        return None
    below = jnp.float32(settings["small_angles"]["below"] / heads[judged].scale)
    return jnp.abs(labels[judged]) < below


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
    factors = {kind: factor(settings[kind]["schedule"], step) for kind in (*KINDS, "views")}
    keys = row_keys(seed=seed, position=position, head=head, rows=rows)
    return jax.vmap(lambda key: _draw_one(settings, factors, key))(keys)


def factor(schedule: Any, step: Any) -> jax.Array:
    """The strength at `step`: linear between ((step, factor), ...), held at both ends."""
    if not schedule:
        return jnp.ones((), jnp.float32)
    steps, factors = (jnp.asarray(column, jnp.float32) for column in zip(*schedule, strict=True))
    return jnp.interp(jnp.asarray(step, jnp.float32), steps, factors)


def _draw_one(settings: Settings, factors: Mapping[str, jax.Array], key: jax.Array) -> Changes:
    keys = {kind: jax.random.fold_in(key, number) for number, kind in enumerate(KINDS)}
    strength = {
        kind: {name: settings[kind][name] * factors[kind] for name in _STRENGTHS[kind]}
        for kind in KINDS
    }
    extent = jnp.asarray([settings["shift"]["sideways"], settings["shift"]["along"]], jnp.float32)
    extent = jnp.round(extent * factors["shift"])
    places = jnp.floor(jax.random.uniform(keys["shift"], (2,), jnp.float32) * (2 * extent + 1))
    cut = jnp.round(jnp.stack([strength["crop"]["top"], strength["crop"]["bottom"]]))
    matrix, offset = _draw_mix(settings["colour_mix"], factors["colour_mix"], keys["colour_mix"])
    shaded, ends, side = jax.random.split(keys["shadow"], 3)
    in_shadow = _uniform(shaded) < strength["shadow"]["probability"]
    spread = {
        kind: strength[kind]["spread"] * _symmetric(keys[kind])
        for kind in ("brightness", "gamma", "contrast", "saturation", "hue")
    }
    return Changes(
        flip=_uniform(keys["flip"]) < strength["flip"]["probability"],
        shift=(places - extent).astype(jnp.int32),
        brightness=1 + strength["brightness"]["bias"] + spread["brightness"],
        gamma=jnp.exp(spread["gamma"]),
        mix=matrix,
        offset=offset,
        crop=jnp.floor(_uniform(keys["crop"], 2) * (cut + 1)).astype(jnp.int32),
        shadow=jnp.where(in_shadow, jnp.float32(settings["shadow"]["lightness"]), jnp.float32(1)),
        shadow_ends=_uniform(ends, 2),
        shadow_left=_uniform(side) < 0.5,
        contrast=1 + spread["contrast"],
        saturation=1 + spread["saturation"],
        hue=spread["hue"],
        blur=strength["blur"]["sigma"] * _uniform(keys["blur"]),
        noise=strength["noise"]["std"],
        noise_key=jax.random.key_data(keys["noise"]),
        small_angles=_uniform(keys["small_angles"]) < strength["small_angles"]["probability"],
        view=factors["views"],
        view_flip=_uniform(jax.random.fold_in(key, _VIEWS)) < factors["views"],
    )


def _draw_mix(
    mix: Mapping[str, Any], factor: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The matrix [3, 3] and the offset [3] of one picture."""
    which, signs, entries, levels = jax.random.split(key, 4)
    inverted = _uniform(signs, 3) < mix["invert"] * factor
    diagonal = jnp.diag(jnp.where(inverted, jnp.float32(-1), jnp.float32(1)))
    mixed = _uniform(which) < mix["probability"]
    matrix = diagonal + mix["spread"] * factor * _symmetric(entries, 3, 3)
    offset = mix["offset"] * factor * _symmetric(levels, 3)
    return (
        jnp.where(mixed, matrix, jnp.eye(3, dtype=jnp.float32)),
        jnp.where(mixed, offset, jnp.float32(0)),
    )


def _uniform(key: jax.Array, *shape: int) -> jax.Array:
    return jax.random.uniform(key, shape, jnp.float32)


def _symmetric(key: jax.Array, *shape: int) -> jax.Array:
    return jax.random.uniform(key, shape, jnp.float32, -1, 1)


def change_images(
    settings: Settings, changes: Changes, images: jax.Array, transform: jax.Array | None = None
) -> jax.Array:
    """Carries out changes on pictures: uint8 [b, H, W, 3] to the same.

    Args:
      settings: As `make_augment` takes them; kinds that it does not ask for are left out.
      changes: Of every row.
      images: As recorded.
      transform: Each one's view, its place in `TRANSFORMS`, int32 [b]; None = as recorded.
    """
    kinds = active(settings)
    # Whole pixels move alike before a view changes their brightness and after it.
    if transform is not None or "flip" in kinds:
        images = pixels.mirror(images, _mirrored(kinds, changes, transform))
    if "shift" in kinds:
        images = pixels.shift(images, changes.shift)
    if transform is None and not set(kinds) - _NO_VALUES:
        return images
    values = images.astype(jnp.float32) / 255
    if transform is not None:
        values = _change_to_view(values, changes.view, transform)
    change = {
        "crop": lambda values: pixels.crop(values, changes.crop),
        "shadow": lambda values: pixels.shadow(
            values, changes.shadow_ends, changes.shadow_left, changes.shadow
        ),
        "brightness": lambda values: pixels.brighten(values, changes.brightness),
        "contrast": lambda values: pixels.contrast(values, changes.contrast),
        "gamma": lambda values: pixels.raise_to(values, changes.gamma),
        "saturation": lambda values: pixels.saturate(values, changes.saturation),
        "hue": lambda values: pixels.turn_hue(values, changes.hue),
        "colour_mix": lambda values: pixels.mix_colours(values, changes.mix, changes.offset),
        "blur": lambda values: pixels.blur(
            values, changes.blur, radius=_blur_radius(settings["blur"])
        ),
        "noise": lambda values: pixels.add_noise(values, changes.noise, changes.noise_key),
    }
    for kind, function in change.items():
        if kind in kinds:
            values = function(values)
    return jnp.round(values * 255).astype(jnp.uint8)


def _mirrored(kinds: tuple[str, ...], changes: Changes, transform: jax.Array | None) -> jax.Array:
    """Whether a picture comes out mirrored, bool [b]: a mirrored view that is flipped does not."""
    flipped = changes.flip if "flip" in kinds else jnp.zeros_like(changes.flip)
    if transform is None:
        return flipped
    mirrored = jnp.asarray([view.mirrored for view in TRANSFORMS])[transform]
    return flipped ^ (mirrored & changes.view_flip)


def _change_to_view(values: jax.Array, strength: jax.Array, transform: jax.Array) -> jax.Array:
    factors = jnp.asarray([view.value for view in TRANSFORMS], jnp.float32)[transform]
    gammas = jnp.asarray([math.log(view.gamma) for view in TRANSFORMS], jnp.float32)[transform]
    values = pixels.scale_value(values, 1 + strength * (factors - 1))
    return pixels.raise_to(values, jnp.exp(-strength * gammas))


def _blur_radius(blur: Mapping[str, Any]) -> int:
    """Pixels around one that matter to it: three standard deviations of the strongest blur."""
    strongest = max((factor for _, factor in blur["schedule"]), default=1.0)
    return max(1, math.ceil(3 * blur["sigma"] * strongest))


def change_targets(
    kinds: tuple[str, ...],
    changes: Changes,
    head: Head,
    targets: jax.Array,
    mirrored: jax.Array,
    settings: Settings,
    transform: jax.Array | None = None,
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
      transform: As `change_images` takes it.

    Returns:
      float32 [b] in [head.low, head.high].
    """
    if transform is not None or "flip" in kinds:
        targets = jnp.where(_mirrored(kinds, changes, transform), mirrored, targets)
    per_pixel = settings["shift"]["label_per_pixel"].get(head.name, 0.0)
    if "shift" in kinds and per_pixel:
        moved = changes.shift[:, 0].astype(jnp.float32) * jnp.float32(per_pixel / head.scale)
        targets = jnp.clip(targets + moved, head.low, head.high)
    return targets
