"""The folder of a run: its configuration, what is known of it, whether it fits a command.

What the disk refuses is said plainly here as well.
"""

import copy
import datetime
import errno
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import filelock
import jax
import psutil
from etils import epath

import jaxdrive
from jaxdrive.errors import UserError
from jaxdrive.logs import logger

CONFIG_FILE = "config.json"
RUN_FILE = "run.json"

# A checkpoint makes sense only for the same network and data; all else may change on the way.
_FIXED = ("model", "heads", "scalars", "seed", "optim.name", "data.fraction", "best_by")
# Numbers that may change on the way, but not from or to 0, where a checkpoint has another form.
_FIXED_AT_ZERO = ("optim.ema",)
# What decides how fast a run starts and nothing else, so it may differ without a word.
NO_PART_OF_A_RUN = ("compilation_cache",)
# Fields that configurations got after the first runs, with what those did. A run that goes on or is
# evaluated may have been written before they were there.
_LATER_FIELDS: Mapping[str, Any] = {
    "compilation_cache": "auto",
    # The meta of checkpoints says what a run computed with.
    "native": "auto",
    "balance_power": 1.0,
    "balance_limit": 0.0,
    "balance_smoothing": 0.0,
    "views": "none",
    "augment.brightness.bias": 0.0,
    "augment.crop": {"top": 0, "bottom": 0, "schedule": ()},
    "augment.shadow": {"probability": 0.0, "lightness": 0.5, "schedule": ()},
    "augment.contrast": {"spread": 0.0, "schedule": ()},
    "augment.saturation": {"spread": 0.0, "schedule": ()},
    "augment.hue": {"spread": 0.0, "schedule": ()},
    "augment.blur": {"sigma": 0.0, "schedule": ()},
    "augment.noise": {"std": 0.0, "schedule": ()},
    "augment.small_angles": {
        "probability": 0.0,
        "below": 0.15,
        "head": "steering",
        "schedule": (),
    },
    "augment.views": {"schedule": ()},
    "heads.*.smooth_seconds": 0.0,
    "heads.*.lead_seconds": 0.0,
    "heads.*.noise": 0.1,
    "heads.*.prior": "drawn",
    "model.dropout": 0.0,
    "optim.ema": 0.0,
    "data.frames_per_second": 20.0,
    "data.resize": "stretch",
    "data.key_presses": False,
    "data.split.folds": 0,
    "data.split.fold": 0,
    "data.tfds": {
        "image": "image",
        "labels": {"steering": "steering", "throttle": "", "brake": "", "speed": ""},
        "session": "",
        "time": "",
        "camera": "",
    },
}
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "clu", "gymnasium")
# A full disk, a used-up quota, a file larger than is allowed.
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# A folder that is a file, is missing, or may not be written.
_NO_ENTRY = (errno.EEXIST, errno.ENOTDIR, errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOENT)


def write_json(path: epath.Path, value: Any) -> None:
    """Writes a JSON file that is either whole or not there."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1))
    partial.replace(path)


def read_json(path: epath.Path) -> Any:
    """What `write_json` wrote; None where there is no file.

    Raises:
      UserError: The file is damaged.
    """
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is damaged ({error}): delete it and run the command again"
        ) from error


def dataset_of(workdir: epath.Path) -> str | None:
    """The fingerprint of the dataset that a run has.

    Returns:
      "" where there is no run that has one; None where nobody can tell, since the workdir cannot be
      reached or read.
    """
    try:
        run = json.loads((workdir / RUN_FILE).read_text())
        return str(run.get("dataset", {}).get("fingerprint", ""))
    except (FileNotFoundError, NotADirectoryError):
        return ""
    # Libraries of buckets raise errors of their own.
    except Exception:
        return None


def read_config(workdir: epath.Path) -> dict[str, Any]:
    """The configuration of the run in `workdir`, with the fields that came later.

    Raises:
      UserError: There is no run, or one of a network that has changed since.
    """
    config = read_json(workdir / CONFIG_FILE)
    if config is None:
        raise UserError(
            f"{workdir} holds no run (there is no {CONFIG_FILE} in it): train first with"
            f" launch.py train --config=FILE --workdir={workdir}, or name another --workdir"
        )
    completed = with_later_fields(config)
    _check_network_exists(workdir, completed)
    return completed


def _check_network_exists(workdir: epath.Path, config: Mapping[str, Any]) -> None:
    """Raises UserError for runs of the first small_inception, which had no normalisation."""
    model = config["model"]
    if model["backbone"] == "small_inception" and not model["batch_norm"]["use"]:
        raise UserError(
            f"{workdir} holds a run of small_inception without batch normalisation, as it was"
            " before it followed the published network. Only the version of jaxdrive that wrote its"
            " checkpoints can read them: use that version, or train again with another --workdir"
        )


def with_later_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """A saved configuration with what it lacks of the fields that came after it.

    Their values change no number of the run.

    Args:
      config: As it was saved; it is not changed.
    """
    completed: dict[str, Any] = copy.deepcopy(dict(config))
    for name, value in _LATER_FIELDS.items():
        *groups, last = name.split(".")
        places = [completed]
        for group in groups:
            # "*" stands for every entry that there is.
            places = [
                inner
                for place in places
                for inner in (place.values() if group == "*" else [place.setdefault(group, {})])
            ]
        for place in places:
            place.setdefault(last, copy.deepcopy(value))
    return completed


def check_same_run(
    workdir: epath.Path,
    config: Mapping[str, Any],
    fingerprints: Sequence[str],
    meta: Mapping[str, Any],
) -> dict[str, tuple[Any, Any]]:
    """Looks whether a run can go on with `config`.

    Args:
      workdir: Of the run, for messages.
      config: What is asked for now.
      fingerprints: All names of the dataset that is asked for, the one to use first.
      meta: What the newest checkpoint says: "config" and "dataset_fingerprint".

    Returns:
      By field, its value there and its value now, where they differ.

    Raises:
      UserError: The checkpoint is of another network, or of one that has changed since, or of other
        data.
    """
    _check_network_exists(workdir, meta["config"])
    before, now = (
        flatten(json.loads(json.dumps(with_later_fields(settings))))
        for settings in (meta["config"], config)
    )
    changes = {
        name: (before.get(name), now.get(name))
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and name not in NO_PART_OF_A_RUN
    }
    fixed = {
        name: values
        for name, values in changes.items()
        if any(name == field or name.startswith(f"{field}.") for field in _FIXED)
        or (name in _FIXED_AT_ZERO and not all(values))
    }
    if meta["dataset_fingerprint"] not in fingerprints:
        of_data = {name: v for name, v in changes.items() if name.startswith("data.")}
        fixed |= of_data or fixed or {"dataset": (meta["dataset_fingerprint"], fingerprints[0])}
    if "dataset" in fixed:
        folder = f"{now['data.dir']}/{meta['dataset_fingerprint']}"
        raise UserError(
            f"{workdir} holds a run of other data: the recordings have changed since, or another"
            f" jaxdrive reads them. To go on with the dataset that it began with, say"
            f" --config.data.prepared={folder}; else use another --workdir for a new run"
        )
    if fixed:
        raise UserError(
            f"{workdir} holds a run of another network or other data:\n{changes_text(fixed)}\nUse"
            " the same settings to go on with it, or another --workdir for a new run"
        )
    return changes


def changes_text(changes: Mapping[str, tuple[Any, Any]]) -> str:
    """Settings that differ, a line each: by field, the run's value and the one that is given."""
    return "\n".join(f"  {name}: {a!r} there, {b!r} now" for name, (a, b) in changes.items())


def record_changes(
    workdir: epath.Path, step: int, changes: Mapping[str, tuple[Any, Any]]
) -> list[str]:
    """Says what has changed in the settings of a run at `step`, and keeps it in run.json.

    Returns:
      A line of text for every change.
    """
    known = (read_json(workdir / RUN_FILE) or {}).get("changes", [])
    lines = []
    for field, (before, after) in changes.items():
        lines.append(f"Changed at step {step}: config.{field}: {before!r} -> {after!r}")
        logger.info("%s", lines[-1])
        change = {"step": step, "field": field, "before": before, "after": after}
        known = [*known, *([] if change in known else [change])]
    if changes:
        describe_run(workdir, changes=known)
    return lines


def write_config(workdir: epath.Path, config: Mapping[str, Any]) -> None:
    """Keeps the configuration, for `evaluate` and `drive` to find it."""
    if jax.process_index() == 0:
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(workdir / CONFIG_FILE, config)


@contextmanager
def only_one(workdir: epath.Path) -> Iterator[None]:
    """Keeps a second command out of a local workdir while one is at work in it.

    Raises:
      UserError: Another command is at work.
    """
    if jax.process_index() != 0 or "://" in str(workdir):
        yield
        return
    workdir.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(workdir / ".lock", timeout=0):
            yield
    except filelock.Timeout as error:
        raise UserError(
            f"another command is at work in {workdir}: wait for its end, or name another --workdir"
        ) from error


@contextmanager
def plain_system_errors() -> Iterator[None]:
    """Says plainly what a disk or folder refuses, whichever library found out."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reasons = [os.strerror(number) for number in _NO_SPACE]
        told = next((reason for reason in reasons if reason in str(error)), None)
        where = f" {error.filename}" if getattr(error, "filename", None) else ""  # type: ignore[attr-defined]
        if told is not None or getattr(error, "errno", None) in _NO_SPACE:
            raise UserError(
                f"no space left: cannot write{where} ({told or error}). Free some, or name other"
                " folders with --workdir and --config.data.dir. What was complete is kept: the"
                " same command goes on from there"
            ) from error
        if isinstance(error, OSError) and error.errno in _NO_ENTRY:
            raise UserError(
                f"cannot use{where}: {error.strerror}. Name another folder with --workdir or"
                " --config.data.dir"
            ) from error
        raise


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide the numbers."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"jaxdrive": jaxdrive.__version__, "python": platform.python_version()} | found


def describe_run(workdir: epath.Path, **facts: Any) -> None:
    """Adds facts to run.json; the machine, versions and start are written with the first ones."""
    if jax.process_index() != 0:
        return
    known = read_json(workdir / RUN_FILE) or {
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "wall_time_seconds": {},
    }
    known["versions"] = versions()
    known["machine"] = {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "devices": [str(device) for device in jax.devices()],
    }
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(workdir / RUN_FILE, known | facts)


@contextmanager
def timed(workdir: epath.Path, stage: str) -> Iterator[None]:
    """Adds the wall time of what runs inside to the stage's in run.json, also when it fails."""
    started = time.perf_counter()
    try:
        yield
    finally:
        times = (read_json(workdir / RUN_FILE) or {}).get("wall_time_seconds", {})
        times[stage] = times.get(stage, 0.0) + time.perf_counter() - started
        describe_run(workdir, wall_time_seconds=times)
