"""`--profile=A:B`: traces the updates that take a run from step A to step B, while it trains.

JAX writes the trace; `trace.py` adds the names of the step's parts to it. A trace changes nothing
about a run: not its numbers, not its checkpoints, and what starting and writing it takes is no part
of the logged speed.
"""

import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
from etils import epath

from jaxdrive.logs import logger
from jaxdrive.training import trace

# Below it lies what JAX and xprof expect: plugins/profile/TIME/HOST.xplane.pb and .trace.json.gz.
FOLDER = "profile"
# The console leaves out parts of a step that take less of its time.
_SHARE_SHOWN = 0.005


def steps_to_trace(asked: range | None, step: int, num_steps: int) -> range:
    """The updates to trace in a run that is at `step` and ends at `num_steps`.

    Says so where they are fewer than `asked`.
    """
    if asked is None:
        return range(0)
    flag = f"--profile={asked.start}:{asked.stop}"
    found = range(max(asked.start, step), min(asked.stop, num_steps))
    run = f"the run starts at step {step} and ends at step {num_steps}"
    if not found:
        logger.warning("%s traces nothing: %s", flag, run)
    elif found != asked:
        logger.warning("%s traces steps %d to %d alone: %s", flag, found.start, found.stop, run)
    return found


class Profiler:
    """Traces a range of updates. A context manager, which ends a trace that is still running."""

    def __init__(self, steps: range, workdir: epath.Path) -> None:
        """Will trace the updates `steps` to `workdir`; an empty range traces nothing."""
        self._steps = steps
        self._folder = workdir / FOLDER
        # Updates made; None before the first call of `at`.
        self._step: int | None = None
        # While a trace is running: where it began, and where JAX writes it.
        self._begun = 0
        self._written: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> "Profiler":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._written:
            self._end(self._written)
        elif self._steps:
            reached = "before its first update" if self._step is None else f"at step {self._step}"
            logger.warning(
                "No trace was written: training ended %s, and the trace starts at step %d",
                reached,
                self._steps.start,
            )

    def at(self, step: int, state: Any) -> float:
        """Starts or ends the trace where that is due after `step` updates.

        Args:
          step: Updates made.
          state: Arrays of the last update, which the devices complete first.

        Returns:
          The seconds that this took, without those of the last update.
        """
        first, self._step = self._step is None, step
        due = step in self._steps
        if due == (self._written is not None):
            return 0.0
        jax.block_until_ready(state)
        started = time.perf_counter()
        if self._written:
            self._end(self._written)
        else:
            self._start(step, compiles=first)
        return time.perf_counter() - started

    def _start(self, step: int, *, compiles: bool) -> None:
        remark = ", the first of which also compiles the step" if compiles else ""
        logger.info("Tracing the updates from step %d to %d%s", step, self._steps.stop, remark)
        self._begun, self._written = step, tempfile.TemporaryDirectory()
        options = jax.profiler.ProfileOptions()
        # The calls of all Python functions would make a trace many times as large.
        options.python_tracer_level = 0
        jax.profiler.start_trace(self._written.name, profiler_options=options)

    def _end(self, written: tempfile.TemporaryDirectory[str]) -> None:
        # Skipped updates take a run back to a step that it has passed: it is traced once.
        self._steps, self._written = range(0), None
        steps = range(self._begun, max(self._step or 0, self._begun + 1))
        with written as folder:
            try:
                jax.profiler.stop_trace()
                _write(Path(folder), self._folder, steps)
            except (OSError, RuntimeError) as error:
                logger.warning("The trace could not be written: %s", error)


def _write(traced: Path, folder: epath.Path, steps: range) -> None:
    """Adds names and times of the step's parts to what JAX wrote; copies it to the workdir."""
    file, operations = trace.add_names(traced)
    parts = file.with_name(trace.PARTS_FILE)
    parts.write_text("\n".join(trace.table(operations, steps)) + "\n")
    # JAX writes to local folders alone.
    for source in traced.rglob("*"):
        if source.is_file():
            target = folder / source.relative_to(traced)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    logger.info(
        "Trace of steps %d to %d: open %s at https://ui.perfetto.dev, or see it with"
        " `pip install xprof` and `xprof --logdir=%s`",
        steps.start,
        steps.stop,
        folder / file.relative_to(traced),
        folder,
    )
    shares = [
        f"{name} {share:.0%}"
        for name, share in trace.shares(operations).items()
        if share >= _SHARE_SHOWN
    ]
    logger.info("Time by part: %s (%s)", ", ".join(shares), folder / parts.relative_to(traced))
