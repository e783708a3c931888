"""How long something takes or how often it happens: steps, or epochs such as "20 epochs".

An epoch is one pass's worth of training frames: as many draws of every head as there are frames,
whatever its balance draws. What fields of a configuration are durations is said here alone.
"""

import copy
import math
import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from jaxdrive.errors import UsageError, UserError

_FIELDS = (
    "num_steps",
    "log_every",
    "eval_every",
    "checkpoint_every",
    "keep_every",
    "gradients_every",
    "optim.warmup_steps",
    "early_stopping.patience",
    "alarm.spread_patience",
    "alarm.skill_patience",
)
# Fields that hold ((duration, factor), ...).
_SCHEDULES = (
    "optim.steps",
    *(
        f"augment.{kind}.schedule"
        for kind in (
            "flip",
            "shift",
            "brightness",
            "gamma",
            "colour_mix",
            "crop",
            "shadow",
            "contrast",
            "saturation",
            "hue",
            "blur",
            "noise",
            "small_angles",
            "views",
        )
    ),
)
_RANGE = re.compile(r"(\d{1,9}):(\d{1,9})", re.ASCII)
_TEXT = re.compile(r"\s*(\d+(?:\.\d*)?)\s*(steps?|epochs?)\s*")


def in_steps(name: str, duration: Any, steps_per_epoch: float) -> int:
    """A duration in steps; what is above 0 takes at least one.

    Args:
      name: The field, for messages.
      duration: A whole number of steps, or text: "300 steps", "20 epochs", "0.5 epochs".
      steps_per_epoch: Steps in which every head draws as many frames as there are.

    Raises:
      UserError: It is none of these.
    """
    match = _TEXT.fullmatch(duration) if isinstance(duration, str) else None
    epochs = match is not None and match[2].startswith("epoch")
    value = float(match[1]) if match else duration
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < math.inf or (not epochs and value != int(value)):
        raise UserError(
            f'config.{name} takes a number of steps or of epochs, such as 3000 or "20 epochs",'
            f" found {duration!r}"
        )
    if not epochs:
        return int(value)
    return max(1, round(value * steps_per_epoch)) if value else 0


def resolve(config: Mapping[str, Any], steps_per_epoch: float) -> dict[str, Any]:
    """The configuration with every duration in steps.

    Args:
      config: Of a run; it is not changed.
      steps_per_epoch: As `in_steps` takes it.

    Raises:
      UserError: A duration or a schedule is not to be read; the text names the field.
    """
    resolved = copy.deepcopy(dict(config))
    for name in _FIELDS:
        place, last = _place(resolved, name)
        place[last] = in_steps(name, place[last], steps_per_epoch)
    for name in _SCHEDULES:
        place, last = _place(resolved, name)
        place[last] = tuple(_in_order(name, place[last], steps_per_epoch))
    return resolved


def step_range(flag: str, text: str) -> range:
    """The updates that "A:B" names: those that take a run from step A to step B.

    Args:
      flag: Its name, for the message.
      text: What the user gave.

    Raises:
      UsageError: It is not of this form, or names no update.
    """
    match = _RANGE.fullmatch(text)
    steps = range(int(match[1]), int(match[2])) if match else range(0)
    if not steps:
        raise UsageError(f"{flag} takes two steps A:B with A < B, such as 20:40, found {text!r}")
    return steps


def durations_of(config: Mapping[str, Any]) -> dict[str, int]:
    """By field, the steps of a resolved configuration."""
    found = {}
    for name in _FIELDS:
        place, last = _place(config, name)
        found[name] = place[last]
    return found


def _place(config: Any, name: str) -> tuple[MutableMapping[str, Any], str]:
    *groups, last = name.split(".")
    for group in groups:
        config = config[group]
    return config, last


def _in_order(name: str, schedule: Any, steps_per_epoch: float) -> Iterator[tuple[int, float]]:
    before = -1
    for entry in schedule:
        pair = isinstance(entry, tuple | list) and len(entry) == 2
        if not pair or not isinstance(entry[1], int | float) or not entry[1] >= 0:
            raise UserError(
                f"config.{name} takes pairs of a duration and a factor from 0 on, such as"
                f' ((0, 1.0), ("5 epochs", 0.1)), found {schedule!r}'
            )
        step = in_steps(name, entry[0], steps_per_epoch)
        if step <= before:
            raise UserError(f"config.{name} has to be in ascending order, found {schedule!r}")
        yield step, float(entry[1])
        before = step
