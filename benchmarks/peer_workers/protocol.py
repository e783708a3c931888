"""The worker's half of the conversation with `benchmarks/peers.py`: lines of JSON on stdin, stdout.

A worker builds its work, makes the first update, and says what it is. Then it answers every line,
{"updates": n}, with the wall and CPU seconds of n updates, until its stdin ends.
"""

import dataclasses
import importlib.metadata
import json
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True)
class Work:
    """What a worker repeats.

    Attributes:
      update: Makes one update and returns its loss once that is on the host.
      finish: Waits for all that `update` has left running.
      device: What it computes on, "cpu" or the name of the accelerator.
      parameters: Numbers that the network learns, and its moving averages; 0 without a network.
      settle: Seconds after which threads that read ahead have filled their buffers again. Their
        work belongs to the updates and counts as CPU seconds, not as wall seconds.
    """

    update: Callable[[], float]
    finish: Callable[[], None]
    device: str
    parameters: int
    settle: float = 0.0


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def cpu_seconds() -> float:
    """CPU seconds of this process, all its threads, and its children, running or ended.

    Running children are counted in ticks of the kernel, 10 ms.
    """
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = sum(_ticks(child) for child in children(os.getpid()))
    return time.process_time() + ended.ru_utime + ended.ru_stime + running / _TICKS


def children(pid: int) -> list[int]:
    """The running processes below a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            direct = [int(child) for child in task.read_text().split()]
        except OSError:  # The thread has ended.
            continue
        found += direct
        for child in direct:
            found += children(child)
    return found


def _ticks(pid: int) -> int:
    """What a process and its ended children have used."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # The second field is a name in brackets; fields 14 to 17 are the times.
    return sum(int(value) for value in text.rpartition(")")[2].split()[11:15])


def serve(make: Callable[[Sequence[str]], Work], packages: Sequence[str]) -> None:
    """Does the work that `make` builds from the command line's arguments.

    Args:
      make: Builds the work.
      packages: Whose versions decide the speed.
    """
    channel = _channel()
    work = make(sys.argv[1:])
    first = _finite(work.update())
    work.finish()
    _say(
        channel,
        {
            "cpu": cpu_seconds(),
            "first_loss": first,
            "parameters": work.parameters,
            "device": work.device,
            "versions": {"python": platform.python_version()}
            | {name: importlib.metadata.version(name) for name in packages},
        },
    )
    for line in sys.stdin:
        _say(channel, _measured(work, json.loads(line)["updates"]))


def _measured(work: Work, updates: int) -> dict[str, float]:
    wall, cpu = time.perf_counter(), cpu_seconds()
    for _ in range(updates):
        loss = work.update()
    work.finish()
    wall = time.perf_counter() - wall
    time.sleep(work.settle)
    return {"wall": wall, "cpu": cpu_seconds() - cpu, "loss": _finite(loss)}


def _finite(loss: float) -> float:
    if not math.isfinite(loss):
        raise SystemExit(f"the loss is {loss}")
    return loss


def _channel() -> TextIO:
    """The original stdout; whatever libraries print goes to stderr."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return channel


def _say(channel: TextIO, message: dict[str, Any]) -> None:
    channel.write(json.dumps(message) + "\n")
    channel.flush()
