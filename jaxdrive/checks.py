"""What the values of a configuration have to be, checked before anything is recorded or written."""

from collections.abc import Mapping
from typing import Any

from jaxdrive.errors import UserError

# The least and the largest value of every number; None is no bound.
_BOUNDS: dict[str, tuple[float, float | None]] = {
    "seed": (0, 2**31 - 1),
    "num_steps": (1, 2**31 - 1),
    "batch_size": (1, None),
    "log_every": (1, None),
    "eval_every": (0, None),
    "checkpoint_every": (1, None),
    "keep_every": (0, None),
    "data.episodes": (1, 5000),
    "data.validation_episodes": (0, 1000),
    "data.test_episodes": (0, 1000),
    "data.noise": (0, 1),
    "data.action_repeat": (1, 1000),
    "data.max_steps": (1, 1000),
    "data.crop_top": (0, None),
    "data.crop_bottom": (0, None),
    "data.height": (1, None),
    "data.width": (1, None),
    "loader.threads": (1, None),
    "loader.prefetch": (1, None),
    "model.batch_norm.momentum": (0, 1),
    "model.batch_norm.epsilon": (0, None),
    "optim.learning_rate": (0, None),
    "optim.warmup_steps": (0, None),
    # Further tracks are recorded on, so they would not be unseen.
    "drive.tracks": (0, 100),
}
_WIDTHS = ("model.channels", "model.common", "model.head")
_LOCAL = ("data.prepared", "data.dir")
# What a simulator can tell a network at the wheel.
_DRIVING_SCALARS = ("speed",)


def check(config: Mapping[str, Any]) -> None:
    """Looks at every number of a configuration, and at what only goes together.

    Raises:
      UserError: A value is out of bounds; the text names field, value and bounds.
    """
    for name, (least, largest) in _BOUNDS.items():
        value = _field(config, name)
        if not least <= value or (largest is not None and value > largest):
            bounds = f"at least {least}" if largest is None else f"from {least} to {largest}"
            raise UserError(f"config.{name} has to be {bounds}, found {value!r}")
    for name in _WIDTHS:
        if not all(isinstance(width, int) and width > 0 for width in _field(config, name)):
            raise UserError(
                f"config.{name} has to be positive numbers, such as (64,), found"
                f" {_field(config, name)!r}"
            )
    for name in _LOCAL:
        if "://" in _field(config, name):
            raise UserError(
                f"config.{name}={_field(config, name)}: datasets are read from a local folder or a"
                " mounted bucket"
            )
    if config["eval_every"] and not config["data"]["prepared"]:
        _need(config, "data.validation_episodes", "config.eval_every=0")
    strangers = sorted(set(config["scalars"]) - set(_DRIVING_SCALARS))
    if config["drive"]["tracks"] and strangers:
        raise UserError(
            f"config.scalars.{strangers[0]}: while driving only {', '.join(_DRIVING_SCALARS)} is"
            " known. Leave it out, or train without driving with --config.drive.tracks=0"
        )


def _need(config: Mapping[str, Any], name: str, otherwise: str) -> None:
    if not _field(config, name):
        raise UserError(
            f"config.{name}=0 leaves nothing to measure on: raise it, or set {otherwise}"
        )


def _field(config: Mapping[str, Any], name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = value[part]
    return value
