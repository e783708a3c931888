"""Checkpoints of a run, by Orbax: what is kept, how it is restored, and what to do with damage.

A checkpoint has three items: `model` (parameters, batch statistics; restores alone, on any number
of devices), `train` (optimiser state, counters) and `meta` (configuration, versions, dataset).
In a run that averages its parameters, `model` has the average, `train` the parameters themselves.
The latest two are kept, the best by held-out skill, and every `keep_every`-th.
"""

import math
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import preservation_policy as policies

from jaxdrive.errors import UserError
from jaxdrive.logs import logger
from jaxdrive.training.state import TrainState

FOLDER = "checkpoints"

# What Orbax writes beside the arrays.
_OVERHEAD_BYTES = 1_000_000


def _skill(metrics: Mapping[str, Any] | None) -> float:
    # A run that is killed while it deletes an old checkpoint leaves one without metrics.
    return -math.inf if metrics is None else float(metrics["skill"])


def open_manager(
    workdir: epath.Path, *, keep_every: int = 0, read_only: bool = False
) -> ocp.CheckpointManager:
    """The checkpoints of a workdir.

    Args:
      workdir: The run's folder.
      keep_every: Checkpoints at multiples of this step are never deleted; 0 keeps none for it.
      read_only: Nothing is written or deleted, not even the folder made.
    """
    best = policies.BestN(get_metric_fn=_skill, n=1, keep_checkpoints_without_metrics=False)
    kept: list[Any] = [policies.LatestN(2), best]
    if keep_every:
        kept.append(policies.EveryNSteps(keep_every))
    options = ocp.CheckpointManagerOptions(
        best_fn=_skill,
        best_mode="max",
        preservation_policy=policies.AnyPreservationPolicy(kept),
        read_only=read_only,
        create=not read_only,
    )
    handlers = ocp.handlers.DefaultCheckpointHandlerRegistry()
    for item in ("model", "train"):
        handlers.add(item, ocp.args.StandardSave)
        handlers.add(item, ocp.args.StandardRestore)
    handlers.add("meta", ocp.args.JsonSave)
    handlers.add("meta", ocp.args.JsonRestore)
    return ocp.CheckpointManager(workdir / FOLDER, options=options, handler_registry=handlers)


def save(
    manager: ocp.CheckpointManager,
    step: int,
    state: TrainState,
    *,
    meta: Mapping[str, Any],
    skill: float | None,
) -> None:
    """Saves one checkpoint in the background; `manager.wait_until_finished` waits for it.

    Args:
      manager: From `open_manager`.
      step: Updates made; more than in any checkpoint there is.
      state: As `Partition.get_state` gives it.
      meta: What it shall say of its run.
      skill: Mean held-out skill of this step; None where it was not measured.

    Raises:
      UserError: The disk has no room for it. Earlier checkpoints are left as they are.
    """
    _check_room(manager.directory, state)
    # A NaN would rank above every number, and a checkpoint that was not measured must not be best.
    known = skill is not None and math.isfinite(skill)
    saved = manager.save(
        step,
        args=ocp.args.Composite(
            model=ocp.args.StandardSave(_model_item(state)),
            train=ocp.args.StandardSave(_train_item(state)),
            meta=ocp.args.JsonSave(dict(meta)),
        ),
        metrics={"skill": skill if known else -math.inf},
    )
    if not saved:
        raise RuntimeError(f"step {step} was not saved: later than it is {manager.latest_step()}")


def _check_room(folder: epath.Path, state: TrainState) -> None:
    if "://" in str(folder):
        return
    # A write that fails half-way is reported by Orbax's threads, each in its own manner.
    need = 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + _OVERHEAD_BYTES
    free = shutil.disk_usage(folder).free
    if free < need:
        raise UserError(
            f"no space left for a checkpoint in {folder}: {free / 1e6:.1f} MB are free,"
            f" {need / 1e6:.1f} MB are needed. Free some, or copy the folder to a larger disk and"
            " name it with --workdir. The same command goes on from the checkpoint before"
        )


def _model_item(state: TrainState) -> dict[str, Any]:
    return {"params": state.evaluated, "batch_stats": state.batch_stats}


def _train_item(state: TrainState) -> dict[str, Any]:
    item = {"step": state.step, "position": state.position, "opt_state": state.opt_state}
    return item if state.average is None else item | {"params": state.params}


def _state_of(model: Mapping[str, Any], train: Mapping[str, Any]) -> TrainState:
    """The inverse of `_model_item` and `_train_item`."""
    average = {"average": model["params"]} if "params" in train else {}
    return TrainState(**{**model, **train, **average})


def restore_latest(
    manager: ocp.CheckpointManager, template: TrainState, sharding: jax.sharding.Sharding
) -> TrainState | None:
    """The state of the newest checkpoint that can be read; None where there is none.

    Newer ones that cannot be read are reported and, once an older one could, set aside under
    another name: saving their steps anew would otherwise be refused.

    Args:
      manager: From `open_manager`.
      template: A state of the right shapes and dtypes.
      sharding: Where to restore to.

    Raises:
      UserError: Checkpoints are there but none can be read, or they are of another network.
    """
    damaged = {}
    for step in sorted(manager.all_steps(), reverse=True):
        try:
            wanted = ocp.args.Composite(
                model=ocp.args.StandardRestore(_abstract(_model_item(template), sharding)),
                train=ocp.args.StandardRestore(_abstract(_train_item(template), sharding)),
            )
            _check_same_network(manager, step, template)
            items = manager.restore(step, args=wanted)
        except UserError:
            raise
        except Exception as error:  # Orbax raises all kinds for damage, plain Exception too.
            damaged[step] = _first_line(error)
            logger.warning("Checkpoint %d cannot be read: %s", step, damaged[step])
            continue
        _set_aside(manager, sorted(damaged))
        return _state_of(items["model"], items["train"])
    if damaged:
        raise UserError(
            f"none of the checkpoints {sorted(damaged)} in {manager.directory} can be read. They"
            " are left as they are; start anew with another --workdir"
        )
    return None


def _set_aside(manager: ocp.CheckpointManager, steps: list[int]) -> None:
    for step in steps:
        folder = manager.directory / str(step)
        aside = manager.directory / f"{step}.unreadable"
        logger.warning("Going back to an older checkpoint; that of step %d is now %s", step, aside)
        if jax.process_index() == 0:
            if aside.exists():
                aside.rmtree()
            folder.rename(aside)
    if steps and jax.process_count() > 1:
        multihost_utils.sync_global_devices("set aside")
    if steps:
        manager.reload()


def _check_same_network(manager: ocp.CheckpointManager, step: int, template: TrainState) -> None:
    """Orbax would cast another dtype without a word, and call other shapes damage."""
    found = _shapes(manager.item_metadata(step)["model"].tree)
    expected = _shapes(_model_item(template))
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise UserError(
                f"checkpoint {step} in {manager.directory} is of another network: {name} is"
                f" {found.get(name, 'absent')} there, {expected.get(name, 'absent')} here. Use the"
                " configuration and version that it was made with, or another --workdir"
            )


def _shapes(tree: Any) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def _abstract(tree: Any, sharding: jax.sharding.Sharding | None) -> Any:
    return jax.tree.map(
        lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding), tree
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def choose_step(manager: ocp.CheckpointManager, step: int | None) -> int:
    """The step to restore: `step` itself, or the best by held-out skill, or the latest.

    Raises:
      UserError: There is no such checkpoint.
    """
    steps = sorted(manager.all_steps())
    if not steps:
        raise UserError(
            f"there is no checkpoint in {manager.directory}: train first, or name the --workdir of"
            " a run that was trained"
        )
    if step is None:
        measured = [s for s in steps if math.isfinite(_skill(manager.metrics(s)))]
        return max(measured, key=lambda s: _skill(manager.metrics(s))) if measured else steps[-1]
    if step not in steps:
        raise UserError(
            f"there is no checkpoint of step {step} in {manager.directory}: there are"
            f" {', '.join(map(str, steps))}"
        )
    return step


def read_meta(manager: ocp.CheckpointManager, step: int | None = None) -> dict[str, Any] | None:
    """What a checkpoint says of its run; None where it cannot be read.

    Without a step it is the newest one that can be read.
    """
    steps = sorted(manager.all_steps(), reverse=True) if step is None else [step]
    for step in steps:
        try:
            items = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))
        except Exception as error:  # Orbax raises all kinds for damage, plain Exception too.
            logger.warning("Checkpoint %d cannot be read: %s", step, _first_line(error))
            continue
        return items["meta"]
    return None


def restore_any_model(manager: ocp.CheckpointManager, step: int, sharding: Any) -> tuple[Any, Any]:
    """(params, batch_stats) of one checkpoint, whatever its network, on devices as `sharding` says.

    Raises:
      UserError: The checkpoint is damaged.
    """
    try:
        item = manager.item_metadata(step)["model"].tree
        model = ocp.args.StandardRestore(_abstract(item, sharding))
        item = manager.restore(step, args=ocp.args.Composite(model=model))["model"]
    except Exception as error:  # Orbax raises all kinds for damage, plain Exception too.
        raise UserError(
            f"checkpoint {step} in {manager.directory} cannot be read ({_first_line(error)})"
        ) from error
    return item["params"], item["batch_stats"]


def restore_model(
    manager: ocp.CheckpointManager, step: int, template: TrainState, sharding: Any
) -> tuple[Any, Any]:
    """(params, batch_stats) of one checkpoint, on devices as `sharding` says.

    Raises:
      UserError: The checkpoint is damaged or of another network.
    """
    model = ocp.args.StandardRestore(_abstract(_model_item(template), sharding))
    try:
        _check_same_network(manager, step, template)
        item = manager.restore(step, args=ocp.args.Composite(model=model))["model"]
    except UserError:
        raise
    except Exception as error:  # Orbax raises all kinds for damage, plain Exception too.
        others = sorted(other for other in manager.all_steps() if other != step)
        remedy = f"use --step with one of {others}" if others else "train again"
        raise UserError(
            f"checkpoint {step} in {manager.directory} cannot be read ({_first_line(error)}):"
            f" {remedy}"
        ) from error
    return item["params"], item["batch_stats"]
