"""What the values of a configuration have to be, checked before anything is recorded or written."""

import itertools
from collections.abc import Mapping
from typing import Any

from jaxdrive import durations
from jaxdrive.errors import UsageError, UserError
from jaxdrive.heads import Head, best_by_of, control_names, heads_from_config, recorded_labels
from jaxdrive.views import VIEWS

# The least and the largest value of every number; None is no bound.
_BOUNDS: dict[str, tuple[float, float | None]] = {
    "seed": (0, 2**31 - 1),
    "num_steps": (1, 2**31 - 1),
    "batch_size": (1, None),
    "log_every": (1, None),
    "checkpoint_every": (1, None),
    "early_stopping.min_improvement": (0, None),
    "alarm.min_spread": (0, 1),
    "alarm.min_skill": (-1e6, 1),
    "data.fraction": (1e-6, 1),
    "data.frames_per_second": (1e-3, 1e6),
    "data.split.block_seconds": (0, 1e9),
    "data.split.gap_seconds": (0, 3600),
    "data.split.validation": (0, 1),
    "data.split.test": (0, 1),
    "data.split.folds": (0, 1000),
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
    "model.dropout": (0, 0.99),
    "model.batch_norm.momentum": (0, 1),
    "model.batch_norm.epsilon": (0, None),
    "optim.learning_rate": (0, None),
    "optim.momentum": (0, 1),
    "optim.weight_decay": (0, None),
    "optim.clip_norm": (0, None),
    "optim.ema": (0, 0.99999),
    "augment.flip.probability": (0, 1),
    "augment.shift.sideways": (0, None),
    "augment.shift.along": (0, None),
    "augment.brightness.spread": (0, 1),
    "augment.brightness.bias": (-1, 10),
    "augment.gamma.spread": (0, 3),
    "augment.colour_mix.probability": (0, 1),
    "augment.colour_mix.spread": (0, None),
    "augment.colour_mix.offset": (0, 1),
    "augment.colour_mix.invert": (0, 1),
    "augment.crop.top": (0, None),
    "augment.crop.bottom": (0, None),
    "augment.shadow.probability": (0, 1),
    "augment.shadow.lightness": (0, 1),
    "augment.contrast.spread": (0, 1),
    "augment.saturation.spread": (0, 1),
    "augment.hue.spread": (0, 0.5),
    "augment.blur.sigma": (0, 20),
    "augment.noise.std": (0, 1),
    "augment.small_angles.probability": (0, 1),
    "augment.small_angles.below": (0, None),
    # Further tracks are recorded on, so they would not be unseen.
    "drive.tracks": (0, 100),
}
_WIDTHS = ("model.channels", "model.common", "model.head")
_LOCAL = ("data.prepared", "data.dir", "data.path")
# The source that is a simulator, in which a network can drive.
_SIMULATOR = "car_racing"
# What a simulator can tell a network at the wheel.
_DRIVING_SCALARS = ("speed",)
_INIT_PARTS = ("backbone", "all")
_ON_BAD = ("skip", "fail")
_NATIVE = ("auto", "off")
# Of the verb `folds`, where nothing else is said.
_FOLDS = 5
# Values of config.compilation_cache that are no folder.
CACHE_WORDS = ("auto", "off")


def check(config: Mapping[str, Any]) -> None:
    """Looks at every number and head of a configuration, and at what only goes together.

    Raises:
      UserError: A value is not usable; the text names field, value and bounds.
    """
    # Any length of an epoch tells whether durations can be read and are above 0.
    config = durations.resolve(config, 1000.0)
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
                f"config.{name}={_field(config, name)}: data is read from a local folder or a"
                " mounted bucket"
            )
    cache = config["compilation_cache"]
    if not cache or "://" in cache:
        raise UserError(
            f"config.compilation_cache={cache!r} has to be 'auto', 'off' or a local folder"
        )
    if config["native"] not in _NATIVE:
        raise UserError(
            f"config.native={config['native']!r} is not known: one of {', '.join(_NATIVE)}"
        )
    _check_split(config["data"])
    folds = config["data"]["split"]["folds"]
    if config["eval_every"] and not config["data"]["prepared"] and not folds:
        simulated = config["data"]["source"] == _SIMULATOR
        field = "data.validation_episodes" if simulated else "data.split.validation"
        _need(config, field, "config.eval_every=0")
    if config["early_stopping"]["patience"] and not config["eval_every"]:
        raise UserError(
            "config.early_stopping.patience needs held-out measurements: set config.eval_every"
        )
    if config["init_part"] not in _INIT_PARTS:
        raise UserError(
            f"config.init_part={config['init_part']!r} is not known: one of"
            f" {', '.join(_INIT_PARTS)}"
        )
    if config["views"] not in VIEWS:
        raise UserError(f"config.views={config['views']!r} is not known: one of {', '.join(VIEWS)}")
    heads = heads_from_config(config["heads"])
    best_by_of(config["best_by"], heads)
    _check_scalars(config["scalars"], heads)
    _check_controls(heads)
    _check_augment(config["augment"], heads, height=config["data"]["height"])
    if config["drive"]["tracks"]:
        check_driving(config)


def folds_of(config: Mapping[str, Any], given: int | None) -> int:
    """The number of folds that the verb `folds` trains and evaluates.

    Args:
      config: Of its runs.
      given: By --folds; None takes config.data.split.folds, and `_FOLDS` where that is 0.

    Raises:
      UsageError: The recordings cannot be dealt to so many folds.
    """
    data = config["data"]
    if data["source"] == _SIMULATOR:
        raise UsageError(
            f"folds needs a recording: {_SIMULATOR} records episodes for each split, as many as"
            " you like, so there is nothing to deal to folds. Use `train`, with more episodes"
            " (config.data.test_episodes) for surer numbers"
        )
    if data["prepared"]:
        raise UsageError(
            f"config.data.prepared={data['prepared']} is a dataset with one split: leave it out,"
            " and folds prepares a dataset for every fold"
        )
    if given is not None and given < 3:
        raise UsageError(
            f"--folds={given} leaves nothing to train on: one fold is for the test and one for"
            " validation, so at least 3 are needed"
        )
    return given or data["split"]["folds"] or _FOLDS


def check_driving(config: Mapping[str, Any]) -> None:
    """Looks whether the network of a configuration can drive in the simulator.

    Raises:
      UserError: It learns from recordings of another world, or needs what the simulator does not
        tell.
    """
    if config["data"]["source"] != _SIMULATOR:
        raise UserError(
            f"config.data.source={config['data']['source']!r} has no simulator here to drive in:"
            " `drive --simulator=udacity` drives the Udacity simulator, `evaluate` measures on"
            " recordings; train without driving with --config.drive.tracks=0"
        )
    strangers = sorted(set(config["scalars"]) - set(_DRIVING_SCALARS))
    if strangers:
        raise UserError(
            f"config.scalars.{strangers[0]}: while driving only {', '.join(_DRIVING_SCALARS)} is"
            " known. Leave it out, or train without driving with --config.drive.tracks=0"
        )


def check_serving(config: Mapping[str, Any], *, set_speed: float) -> None:
    """Looks whether the network of a configuration can drive in the Udacity simulator.

    Raises:
      UserError: It does not tell what the simulator has to be told, or needs what the simulator
        does not tell.
    """
    told = set(itertools.chain(*map(control_names, heads_from_config(config["heads"]).values())))
    if "steering" not in told:
        raise UserError(
            f"the network has no head for steering, only for {', '.join(sorted(told))}: it cannot"
            " drive"
        )
    if not set_speed and "throttle" not in told:
        raise UserError(
            "--set_speed=0 leaves the pedals to the network, which has no head for throttle: give"
            " a speed to keep, such as --set_speed=10"
        )
    strangers = sorted(set(config["scalars"]) - set(_DRIVING_SCALARS))
    if strangers:
        raise UserError(
            f"config.scalars.{strangers[0]}: the simulator tells only"
            f" {', '.join(_DRIVING_SCALARS)}, so this network cannot drive in it"
        )


def _check_scalars(scalars: Mapping[str, Any], heads: Mapping[str, Head]) -> None:
    for (name, head), scalar in itertools.product(heads.items(), scalars):
        if recorded_labels(head.label) & recorded_labels(scalar):
            raise UserError(
                f"config.scalars.{scalar} is what config.heads.{name}.label learns: the network"
                " would read the answer of a frame instead of its picture, look skilled on every"
                " recording and not drive. Leave it out of config.scalars, or leave the head out"
            )


def _check_augment(augment: Mapping[str, Any], heads: Mapping[str, Head], *, height: int) -> None:
    angles = augment["small_angles"]
    named = {
        "shift.label_per_pixel": set(augment["shift"]["label_per_pixel"]),
        "small_angles.head": {angles["head"]} if angles["probability"] else set(),
    }
    for field, names in named.items():
        strangers = sorted(names - set(heads))
        if strangers:
            raise UserError(
                f"config.augment.{field} names {strangers[0]!r}, which is no head: there are"
                f" {', '.join(heads)}"
            )
    spread, bias = augment["brightness"]["spread"], augment["brightness"]["bias"]
    if spread - bias > 1:
        raise UserError(
            f"config.augment.brightness.bias={bias} and spread={spread} give factors down to"
            f" {1 + bias - spread:g}, below 0: raise the one or lower the other"
        )
    crop = augment["crop"]
    strongest = max((factor for _, factor in crop["schedule"]), default=1.0)
    rows = round(crop["top"] * strongest) + round(crop["bottom"] * strongest)
    if rows >= height:
        raise UserError(
            f"config.augment.crop cuts off up to {rows} rows of the {height} that pictures have"
            " (config.data.height): lower top or bottom"
        )


def _check_controls(heads: Mapping[str, Head]) -> None:
    told: dict[str, str] = {}
    for name, head in heads.items():
        for control in control_names(head):
            if control in told:
                raise UserError(
                    f"config.heads.{name} and config.heads.{told[control]} both tell the car its"
                    f" {control}: leave one of them out"
                )
            told[control] = name


def _check_split(data: Mapping[str, Any]) -> None:
    folds, fold = data["split"]["folds"], data["split"]["fold"]
    if folds in (1, 2):
        raise UserError(
            f"config.data.split.folds={folds} leaves nothing to train on: one fold is for the test"
            " and one for validation, so at least 3 are needed; 0 splits by shares instead"
        )
    if not 0 <= fold < max(folds, 1):
        raise UserError(
            f"config.data.split.fold={fold} is not a fold: config.data.split.folds={folds} has"
            f" folds {f'0 to {folds - 1}' if folds else 'switched off'}"
        )
    if folds and data["source"] == _SIMULATOR:
        raise UserError(
            f"config.data.split.folds={folds}: {_SIMULATOR} records episodes for each split, so"
            " there is nothing to deal to folds. Set config.data.split.folds=0"
        )
    shares = data["split"]["validation"] + data["split"]["test"]
    if not folds and shares >= 1:
        raise UserError(
            f"config.data.split.validation and config.data.split.test are {shares:g} together:"
            " nothing is left to train on, so lower them"
        )
    if data["on_bad"] not in _ON_BAD:
        raise UserError(
            f"config.data.on_bad={data['on_bad']!r} is not known: one of {', '.join(_ON_BAD)}"
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
