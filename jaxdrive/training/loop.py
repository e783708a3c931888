"""The loop: draw, step, and at every boundary log, measure and save, in that order.

A boundary is a step that is a multiple of one of the intervals, or the last. All that a boundary
does depends on the state alone, so a run that was killed and goes on from a checkpoint does the
same as one that was not. A run that is stopped by a signal writes one line and one checkpoint more.
"""

import collections
import dataclasses
import functools
import gc
import itertools
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.profiler import StepTraceAnnotation, TraceAnnotation

from jaxdrive.errors import UserError
from jaxdrive.heads import controls
from jaxdrive.logs import logger
from jaxdrive.training import alarm, checkpoint, metrics
from jaxdrive.training.gradients import gradient_line
from jaxdrive.training.heldout import measure
from jaxdrive.training.memory import memory_line
from jaxdrive.training.parts import Trainer, batches_from
from jaxdrive.training.pictures import pictures
from jaxdrive.training.profiler import Profiler
from jaxdrive.training.progress import Progress, measured, reason_to_stop
from jaxdrive.training.signals import StoppedError, StopRequest
from jaxdrive.training.state import TrainState

# Steps that the host may be ahead of the devices: enough to hide its own work, few enough that
# waiting batches do not fill the memory.
_STEPS_AHEAD = 2
# Updates in a row that may be skipped for not being finite.
_SKIPPED_IN_A_ROW = 100
_SAVING = ("checkpoint_every", "keep_every", "eval_every")
_INTERVALS = ("log_every", "gradients_every", *_SAVING)


@dataclasses.dataclass(frozen=True)
class BetweenUpdates:
    """What the loop attends to between two updates.

    Attributes:
      stop: Set by a signal: the loop saves the current step and leaves.
      profiler: Starts and ends a trace.
    """

    stop: StopRequest
    profiler: Profiler


@dataclasses.dataclass
class _Window:
    """What happened since the last boundary."""

    metrics: list[Any] = dataclasses.field(default_factory=list)
    labels: dict[str, list[np.ndarray]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )
    seconds: float = 0.0
    seconds_waiting: float = 0.0
    batches_timed: int = 0
    batch: Any = None
    compiles: bool = False
    measures_gradients: bool = False
    gradients: Any = None


def run(
    trainer: Trainer,
    config: Mapping[str, Any],
    state: TrainState,
    *,
    manager: ocp.CheckpointManager,
    writer: Any,
    meta: Mapping[str, Any],
    progress: Progress,
    between: BetweenUpdates,
) -> str | None:
    """Trains from `state` to `config.num_steps`, or until held-out skill rises no more.

    Args:
      trainer: What to run.
      config: Intervals and sizes; durations in steps.
      state: On the host; fresh or restored.
      manager: Where checkpoints go.
      writer: Where metrics go.
      meta: What every checkpoint says of its run.
      progress: Of the run so far.
      between: What happens between two updates.

    Returns:
      Why it stopped early; None where it did not.

    Raises:
      StoppedError: A signal asked for it.
      UserError: Many updates in a row were not finite.
    """
    step, position, num_steps = int(state.step), int(state.position), config["num_steps"]
    early = config["early_stopping"]
    reason = reason_to_stop(progress, step, patience=early["patience"])
    cold = True
    state = trainer.network.partition.put_state(state)
    batches = batches_from(trainer, config, position)
    while step < num_steps and reason is None:
        begun, boundary = step, _next_boundary(step, config)
        window = _Window(
            compiles=cold, measures_gradients=_due(boundary, config, "gradients_every")
        )
        cold = False
        stopping = False
        while step < boundary and not stopping:
            state = _advance(trainer, state, batches, range(step, boundary), window, between)
            step = _step_of(trainer, state)
            _check_finite(window, step)
            stopping = between.stop.agreed()
        if step > begun:
            drawn = len(window.metrics) * config["batch_size"]
            progress = dataclasses.replace(progress, samples=progress.samples + drawn)
            line = _train_line(trainer, config, window, step, progress)
            alarms = alarm.watch(
                progress.alarms, begun, step, line, trainer.network.heads, config["alarm"]
            )
            progress = dataclasses.replace(progress, alarms=alarms)
            line, skill = line | alarm.alarm_line(alarms), None
            # A run that is stopped saves at once and measures only where it would have anyway.
            if _due(step, config, "eval_every") or (config["eval_every"] and step == num_steps):
                with TraceAnnotation("measure held-out frames"):
                    held_out = measure(trainer, config, state)
                line, skill = line | held_out.line, held_out.skill
                minimum = early["min_improvement"]
                progress = measured(progress, step, skill, min_improvement=minimum)
                reason = reason_to_stop(progress, step, patience=early["patience"])
                writer.write_images(step, pictures(trainer, window.batch, held_out, step))
            _write(trainer, writer, window, step, line)
            due = any(_due(step, config, name) for name in _SAVING)
            if due or stopping or step == num_steps:
                kept = trainer.network.partition.get_state(state)
                told = {**meta, "progress": dataclasses.asdict(progress)}
                with TraceAnnotation("save checkpoint"):
                    checkpoint.save(manager, step, kept, meta=told, skill=skill)
        if stopping:
            manager.wait_until_finished()
            if manager.latest_step() is None:
                raise KeyboardInterrupt
            raise StoppedError(step, between.stop.number)
    manager.wait_until_finished()
    return reason


def _next_boundary(step: int, config: Mapping[str, Any]) -> int:
    """The first boundary after `step`."""
    every = [config[name] for name in _INTERVALS if config[name]]
    return min([(step // n + 1) * n for n in every] + [config["num_steps"]])


def _due(step: int, config: Mapping[str, Any], interval: str) -> bool:
    return config[interval] > 0 and step % config[interval] == 0


def _step_of(trainer: Trainer, state: TrainState) -> int:
    return int(jax.device_get(trainer.network.partition.get_state(state.step)))


def _advance(
    trainer: Trainer,
    state: TrainState,
    batches: Iterator[Any],
    steps: range,
    window: _Window,
    between: BetweenUpdates,
) -> TrainState:
    """Makes the updates `steps`, fewer when a stop is asked for; notes what happened in `window`.

    The window's seconds leave out what starting and writing a trace takes.
    """
    put_batch = trainer.network.partition.put_batch
    started = time.perf_counter()
    for step in steps:
        started += between.profiler.at(step, state)
        if window.compiles and step == steps.start + 1:
            # The first step of a process compiles, which is no part of its speed.
            jax.block_until_ready(state)
            # Python need not look for garbage among what stays for the whole run.
            gc.collect()
            gc.freeze()
            started, window.seconds_waiting, window.batches_timed = time.perf_counter(), 0.0, 0
        with StepTraceAnnotation("train", step_num=step):
            before = time.perf_counter()
            with TraceAnnotation("wait for data"):
                window.batch = next(batches)
            window.seconds_waiting += time.perf_counter() - before
            with TraceAnnotation("put batch on devices"):
                batch = put_batch(window.batch)
            if trainer.gradients and window.measures_gradients and step == steps[-1]:
                # No part of the speed of a step.
                jax.block_until_ready(state)
                before = time.perf_counter()
                window.gradients = jax.device_get(trainer.gradients(state, batch))
                started += time.perf_counter() - before
            state, step_metrics = trainer.train_step(state, batch)
            window.metrics.append(step_metrics)
            window.batches_timed += 1
            for head, part in window.batch.items():
                window.labels[head].append(part["labels"][head])
            with TraceAnnotation("wait for devices"):
                jax.block_until_ready(window.metrics[-1 - _STEPS_AHEAD :][0])
        if between.stop.now():
            break
    jax.block_until_ready(state)
    window.seconds += time.perf_counter() - started
    between.profiler.at(step + 1, state)
    return state


def _check_finite(window: _Window, step: int) -> None:
    """Fetches the window's metrics; ends the run where updates are skipped on and on."""
    window.metrics = jax.device_get(window.metrics)
    skipped = [bool(values["skipped"]) for values in window.metrics]
    in_a_row = len(list(itertools.takewhile(bool, reversed(skipped))))
    if in_a_row >= _SKIPPED_IN_A_ROW:
        raise UserError(
            f"the gradient was not finite in {in_a_row} updates in a row after step {step}: the"
            " network has diverged. Lower --config.optim.learning_rate and start again with"
            " another --workdir, or look for broken labels"
        )


def _merge(window: _Window) -> tuple[dict[str, metrics.HeadMetrics], float, int]:
    """Metrics per head, mean gradient norm and number of skipped updates of a window."""
    finite = [values for values in window.metrics if not values["skipped"]]
    heads = functools.reduce(
        lambda a, b: {head: a[head].merge(b[head]) for head in a},
        (values["heads"] for values in finite),
    )
    norm = float(np.mean([values["gradient_norm"] for values in finite]))
    return heads, norm, len(window.metrics) - len(finite)


def _train_line(
    trainer: Trainer, config: Mapping[str, Any], window: _Window, step: int, progress: Progress
) -> dict[str, Any]:
    """What is logged of a window; "drawn" is a list, everything else a number.

    "train/loss" is what was minimised: the sum of the heads' losses, each times the head's weight.
    """
    merged, norm, skipped = _merge(window)
    if skipped:
        logger.warning("%d updates before step %d were not finite and skipped", skipped, step)
    computed = {head: value.compute() for head, value in merged.items()}
    heads = trainer.network.heads
    # A head of which no example counted has lost nothing.
    losses = [heads[head].weight * (values["loss"] or 0.0) for head, values in computed.items()]
    line: dict[str, Any] = {"train/loss": sum(losses)}
    for head, values in computed.items():
        if values["mae"] is not None:
            values["mae"] *= heads[head].scale
        values["spread"] = metrics.spread(
            [m["heads"][head] for m in window.metrics if not m["skipped"]]
        )
        line |= {f"train/{head}/{name}": value for name, value in values.items()}
    if window.gradients is not None:
        line |= gradient_line(heads, window.gradients)
    batches = window.batches_timed
    images = batches * config["batch_size"] * len(heads)
    return line | {
        "train/samples_per_head": progress.samples,
        "train/epoch": progress.samples / len(trainer.drawn_ids),
        "train/learning_rate": float(trainer.schedule(step - 1)),
        "train/gradient_norm": norm,
        "train/skipped": skipped,
        "train/images_per_second": images / window.seconds,
        "train/waiting_share": window.seconds_waiting / window.seconds,
        "train/seconds_left": (config["num_steps"] - step) * window.seconds / batches,
        **memory_line(),
    }


def _write(
    trainer: Trainer, writer: Any, window: _Window, step: int, line: Mapping[str, Any]
) -> None:
    """Writes a boundary's line, and the labels that this process's batches held."""
    lists = {name: value for name, value in line.items() if isinstance(value, list)}
    labels = {
        f"train/{head}/labels": controls(trainer.network.heads[head], np.concatenate(targets))
        for head, targets in window.labels.items()
    }
    writer.write_summaries(step, lists)
    writer.write_histograms(step, labels)
    writer.write_scalars(step, {name: value for name, value in line.items() if name not in lists})
    writer.flush()
