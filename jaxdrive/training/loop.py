"""The loop: draw, step, and at every boundary log, measure and save, in that order.

A boundary is a step that is a multiple of one of the intervals, or the last. All that a boundary
does depends on the state alone, so a run that was killed and goes on from a checkpoint does the
same as one that was not.
"""

import collections
import dataclasses
import functools
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxdrive.errors import UserError
from jaxdrive.heads import controls
from jaxdrive.logs import logger
from jaxdrive.training import checkpoint, metrics
from jaxdrive.training.heldout import predict_frames
from jaxdrive.training.parts import Trainer, batches_from
from jaxdrive.training.pictures import contact_sheet
from jaxdrive.training.signals import StoppedError, StopRequest
from jaxdrive.training.state import TrainState

# Steps that the host may be ahead of the devices: enough to hide its own work, few enough that
# waiting batches do not fill the memory.
_STEPS_AHEAD = 2
_PICTURES = 8


@dataclasses.dataclass
class _Window:
    """What happened since the last boundary."""

    metrics: list[Any] = dataclasses.field(default_factory=list)
    labels: dict[str, list[np.ndarray]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )
    seconds: float = 0.0
    seconds_waiting: float = 0.0
    steps_timed: int = 0


def run(
    trainer: Trainer,
    config: Mapping[str, Any],
    state: TrainState,
    *,
    manager: ocp.CheckpointManager,
    writer: Any,
    meta: Mapping[str, Any],
    stop: StopRequest,
) -> None:
    """Trains from `state` to `config.num_steps`.

    Args:
      trainer: What to run.
      config: Intervals and sizes.
      state: On the host; fresh or restored.
      manager: Where checkpoints go.
      writer: Where metrics go.
      meta: What every checkpoint says of its run.
      stop: Asked for by a signal: the step at hand is saved before leaving.

    Raises:
      StoppedError: `stop` was asked for.
      UserError: No update of a whole interval was finite.
    """
    step, position = int(state.step), int(state.position)
    state = trainer.network.partition.put_state(state)
    batches = batches_from(trainer, config, position)
    while step < config["num_steps"]:
        begun = step
        window = _Window()
        steps = _next_boundary(step, config) - step
        state, batch = _advance(trainer, state, batches, steps, window, stop)
        step, position = (int(x) for x in _counters(trainer, state))
        if step == begun:
            raise UserError(
                f"the gradient was not finite in {steps} updates in a row from step {step} on: the"
                " network has diverged. Lower --config.optim.learning_rate and start again with"
                " another --workdir, or look for broken labels"
            )
        line = _train_line(trainer, config, window, step, begun)
        stopping = stop.agreed()
        last = stopping or step >= config["num_steps"]
        skill = None
        if _due(begun, step, config["eval_every"]) or (last and config["eval_every"]):
            held_out, skill = _held_out(trainer, config, state)
            line |= held_out
            writer.write_images(step, _sheets(trainer, batch))
        writer.write_summaries(step, _drawn(window))
        writer.write_histograms(
            step,
            {f"train/{head}/labels": np.concatenate(v) for head, v in window.labels.items()},
        )
        writer.write_scalars(step, line)
        writer.flush()
        if last or any(_due(begun, step, config[name]) for name in _SAVING):
            kept = trainer.network.partition.get_state(state)
            checkpoint.save(manager, step, kept, meta=meta, skill=skill)
        if stopping and step < config["num_steps"]:
            manager.wait_until_finished()
            raise StoppedError(step, stop.number)
    manager.wait_until_finished()


_SAVING = ("checkpoint_every", "keep_every", "eval_every")
_INTERVALS = ("log_every", *_SAVING)


def _next_boundary(step: int, config: Mapping[str, Any]) -> int:
    """The first boundary after `step`."""
    every = [config[name] for name in _INTERVALS if config[name] > 0]
    return min([(step // n + 1) * n for n in every] + [config["num_steps"]])


def _due(begun: int, step: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (begun, step]; skipped updates may hop over one."""
    return every > 0 and step // every > begun // every


def _counters(trainer: Trainer, state: TrainState) -> tuple[Any, Any]:
    kept = trainer.network.partition.get_state({"step": state.step, "position": state.position})
    return jax.device_get((kept["step"], kept["position"]))


def _advance(
    trainer: Trainer,
    state: TrainState,
    batches: Iterator[Any],
    steps: int,
    window: _Window,
    stop: StopRequest,
) -> tuple[TrainState, Any]:
    """Makes `steps` updates, fewer when a stop is asked for; notes what happened in `window`."""
    batch: Any = None
    started = time.perf_counter()
    for index in range(steps):
        before = time.perf_counter()
        batch = next(batches)
        window.seconds_waiting += time.perf_counter() - before
        state, step_metrics = trainer.train_step(state, trainer.network.partition.put_batch(batch))
        window.metrics.append(step_metrics)
        for head, part in batch.items():
            window.labels[head].append(part["labels"][head])
        jax.block_until_ready(window.metrics[max(0, index - _STEPS_AHEAD)])
        if stop.now():
            break
    jax.block_until_ready(state)
    window.seconds = time.perf_counter() - started
    window.steps_timed = len(window.metrics)
    return state, batch


def _train_line(
    trainer: Trainer, config: Mapping[str, Any], window: _Window, step: int, begun: int
) -> dict[str, Any]:
    merged, norm, skipped = _merge(window)
    computed = {head: value.compute() for head, value in merged.items()}
    line: dict[str, Any] = {"train/loss": sum(values["loss"] for values in computed.values())}
    for head, values in computed.items():
        values["mae"] *= trainer.network.heads[head].scale
        line |= {f"train/{head}/{name}": values[name] for name in ("loss", "mae", "skill")}
    images = window.steps_timed * config["batch_size"] * len(trainer.network.heads)
    left = (config["num_steps"] - step) * window.seconds / window.steps_timed
    if skipped:
        logger.warning("%d updates before step %d were not finite and skipped", skipped, step)
    return line | {
        "train/learning_rate": float(trainer.schedule(step - 1)),
        "train/gradient_norm": norm,
        "train/skipped": skipped,
        "train/images_per_second": images / window.seconds,
        "train/waiting_share": window.seconds_waiting / window.seconds,
        "train/seconds_left": left,
    }


def _merge(window: _Window) -> tuple[dict[str, metrics.HeadMetrics], float, int]:
    """Metrics per head, mean gradient norm and number of skipped updates of a window."""
    steps = jax.device_get(window.metrics)
    finite = [values for values in steps if not values["skipped"]]
    heads = functools.reduce(
        lambda a, b: {head: a[head].merge(b[head]) for head in a},
        (values["heads"] for values in finite),
    )
    norm = float(np.mean([values["gradient_norm"] for values in finite]))
    return heads, norm, len(steps) - len(finite)


def _drawn(window: _Window) -> dict[str, Any]:
    merged, _, _ = _merge(window)
    return {f"train/{head}/drawn": value.compute()["drawn"] for head, value in merged.items()}


def _held_out(
    trainer: Trainer, config: Mapping[str, Any], state: TrainState
) -> tuple[dict[str, Any], float | None]:
    """Loss, mae and skill on every validation frame, by the names they are logged under."""
    dataset = trainer.examples.dataset
    ids = dataset.ids("validation")
    predictions = predict_frames(
        trainer.network.predict,
        trainer.network.partition,
        (state.params, state.batch_stats),
        trainer.examples,
        ids,
        threads=config["loader"]["threads"],
    )
    labels = {name: values[ids] for name, values in dataset.labels.items()}
    scores = metrics.scores_of(trainer.network.heads, predictions, labels)
    natural = {head: values["natural"] for head, values in scores.items()}
    skill = metrics.mean_skill(natural)
    line = {
        f"validation/{head}/{name}": values[name]
        for head, values in natural.items()
        for name in ("loss", "mae", "skill")
    }
    return line | {"validation/skill": skill}, skill


def _sheets(trainer: Trainer, batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """By name, a sheet of inputs that a head was just given."""
    return {
        f"inputs/{head}": contact_sheet(
            part["inputs"]["image"][:_PICTURES],
            {
                name: controls(trainer.network.heads[name], values[:_PICTURES])
                for name, values in part["labels"].items()
            },
            part["record"][:_PICTURES],
        )
        for head, part in batch.items()
    }
