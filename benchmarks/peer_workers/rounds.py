"""Starts the workers of one workload and measures them in turn, round after round."""

import contextlib
import dataclasses
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from benchmarks.peer_workers.conversation import Worker, WorkerError
from benchmarks.peer_workers.measurement import Row, mismatches


@dataclasses.dataclass(frozen=True)
class Peer:
    """One way to do the work of a workload.

    Attributes:
      name: For the command line and the JSON.
      title: For the table.
      library: Whose interpreter runs it, see `--python`.
      module: Of `benchmarks.peer_workers`.
      arguments: After the workload.
    """

    name: str
    title: str
    library: str
    module: str
    arguments: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes:
      rounds: How often each peer is measured.
      seconds: Of work that one round of a peer should take; at least two updates are made.
      logs: Folder for the workers' stderr.
      pythons: By library, the interpreter.
      environment: Variables for all workers.
    """

    rounds: int
    seconds: float
    logs: Path
    pythons: Mapping[str, str]
    environment: Mapping[str, str]


def measure(
    peers: Sequence[Peer], argument: str, plan: Plan, label: str
) -> tuple[list[Row], float]:
    """Measures peers in turn.

    Args:
      peers: Those of one workload; the first is the one that the others have to agree with.
      argument: What their workers are given to say which workload it is.
      plan: How to measure.
      label: Of the workload, for messages and the names of logs.

    Returns:
      A row for each peer, and the median share of the machine that other work took.
    """
    rows: dict[str, Row] = {}
    workers: dict[str, Worker] = {}
    with contextlib.ExitStack() as stack:
        for peer in peers:
            print(f"{label}: starting {peer.name}", flush=True)
            try:
                worker = _start(peer, argument, plan, label)
            except WorkerError as error:
                rows[peer.name] = _failed(peer, error)
                continue
            stack.callback(worker.stop)
            workers[peer.name] = worker
            rows[peer.name] = _started(peer, worker)
        for name, reason in mismatches(list(rows.values()), peers[0].name).items():
            workers.pop(name)
            rows[name] = dataclasses.replace(rows[name], reason=reason)
            print(f"{label}: {name} is left out: {reason}", flush=True)
        others = _rounds(workers, rows, plan, label)
    return [rows[peer.name] for peer in peers], statistics.median(others) if others else 0.0


def _start(peer: Peer, argument: str, plan: Plan, label: str) -> Worker:
    python = plan.pythons[peer.library]
    module = f"benchmarks.peer_workers.{peer.module}"
    command = [python, "-m", module, argument, *peer.arguments]
    return Worker(command, plan.logs / f"{label}-{peer.name}.log", plan.environment)


def _started(peer: Peer, worker: Worker) -> Row:
    about = worker.about
    return Row(
        peer=peer.name,
        title=peer.title,
        parameters=about["parameters"],
        device=about["device"],
        startup_wall=worker.startup_wall,
        startup_cpu=about["cpu"],
        first_loss=about["first_loss"],
        versions=about["versions"],
    )


def _failed(peer: Peer, error: WorkerError) -> Row:
    print(f"  not measured: {error}", flush=True)
    return Row(peer=peer.name, title=peer.title, reason=str(error))


def _rounds(
    workers: dict[str, Worker], rows: dict[str, Row], plan: Plan, label: str
) -> list[float]:
    """Fills the rows; returns the share of the machine that other work took in each measurement."""
    others: list[float] = []
    for number in range(plan.rounds + 1):
        if number:
            print(f"{label}: round {number} of {plan.rounds}", flush=True)
        for name, worker in list(workers.items()):
            try:
                if number:
                    rows[name] = _with_round(rows[name], worker, others)
                else:
                    rows[name] = _calibrated(rows[name], worker, plan.seconds)
            except WorkerError as error:
                print(f"{label}: {name} failed: {error}", flush=True)
                rows[name] = dataclasses.replace(rows[name], reason=str(error))
                del workers[name]
    return others


def _calibrated(row: Row, worker: Worker, seconds: float) -> Row:
    """The row with the number of updates that fill a round; also warms the worker up."""
    worker.measure(2)
    once = worker.measure(2)["wall"] / 2
    return dataclasses.replace(row, updates=max(2, round(seconds / once)))


def _with_round(row: Row, worker: Worker, others: list[float]) -> Row:
    before, started = _busy_seconds(), time.perf_counter()
    taken = worker.measure(row.updates)
    elapsed, busy = time.perf_counter() - started, _busy_seconds() - before
    others.append(max(0.0, busy - taken["cpu"]) / (elapsed * (os.cpu_count() or 1)))
    return dataclasses.replace(
        row,
        wall=[*row.wall, taken["wall"] / row.updates],
        cpu=[*row.cpu, taken["cpu"] / row.updates],
        last_loss=taken["loss"],
    )


def _busy_seconds() -> float:
    """CPU seconds of all processes of the machine, and those that its host gave to others."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)


def busy_share(seconds: float) -> float:
    """The share of the machine's cores that is busy now, over some seconds."""
    before = _busy_seconds()
    time.sleep(seconds)
    return (_busy_seconds() - before) / (seconds * (os.cpu_count() or 1))
