"""What a JAX trace says of the parts of a step: puts their names into it, adds up their times.

On a CPU JAX names an operation as the compiler does ("fusion.7"). Here it gets the path that it has
in the program (see `scopes.py`), in the file that Perfetto opens. The file that xprof opens stays
as JAX wrote it.
"""

import collections
import dataclasses
import gzip
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jaxdrive.models.multihead import MultiHead
from jaxdrive.training.hlo_names import is_backward, source_names

PARTS_FILE = "parts.txt"
JSON_PATTERN = "plugins/profile/*/*.trace.json.gz"
_NAMELESS = "(unknown)"
# Of an accelerator, which shows the same operations on several lines, this one counts.
_XLA_OPS = "XLA Ops"
# jvp(...), transpose(jvp(...)) and the like around the name of a scope.
_WRAPPED = re.compile(r"(?:\w+\()*([^()]*)\)*")
_CALLED = re.compile(r"jit\((\w+)\)")
# Names that a part of a step has in a table: "train_step", "pass_steering".
_PART = 2
# And a layer: "train_step", "pass_steering", "backbone", "Conv_0".
_LAYER = 4
# Milliseconds a step from which a row is shown.
_SHOWN = 0.0005

Event = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation of compiled code in a trace.

    Attributes:
      source: Its path in the program; empty where it is unknown.
      seconds: How long it ran, without operations inside it.
    """

    source: str
    seconds: float


def add_names(folder: Path) -> tuple[Path, list[Operation]]:
    """Names the operations of the trace in `folder`.

    Args:
      folder: What JAX's `start_trace` was given.

    Returns:
      The JSON file, whose operations are called by their paths in the program and say in "hlo_op"
      what the compiler calls them; and these operations.
    """
    (path,) = folder.glob(JSON_PATTERN)
    written = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    # The last one is empty.
    events = [event for event in written if event]
    (xspace,) = path.parent.glob("*.xplane.pb")
    names = source_names(xspace.read_bytes())
    timed = [event for event in events if "hlo_op" in event.get("args", ())]
    for event in timed:
        args = event["args"]
        args["source"] = names.get((args.get("hlo_module"), args["hlo_op"]), "")
        # A kernel of a GPU keeps its own name.
        if args["source"] and event["name"] == args["hlo_op"]:
            event["name"] = args["source"]
    # Without JAX's entry "metadata", which Perfetto does not like.
    path.write_bytes(gzip.compress(json.dumps({"traceEvents": events}).encode()))
    return path, _operations(events, timed)


def _operations(events: Iterable[Event], timed: Iterable[Event]) -> list[Operation]:
    """The operations that count, each with its own time."""
    lines = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in events
        if event.get("ph") == "M" and event["name"] == "thread_name"
    }
    by_line: dict[tuple[int, int], list[Event]] = collections.defaultdict(list)
    for event in timed:
        by_line[event["pid"], event["tid"]].append(event)
    with_ops = {pid for (pid, tid), name in lines.items() if name == _XLA_OPS}
    found = []
    for line, its in by_line.items():
        if line[0] not in with_ops or lines.get(line) == _XLA_OPS:
            found += _own_times(its)
    return found


def _own_times(events: Sequence[Event]) -> list[Operation]:
    """The operations of one thread, where those inside another one do not count twice."""
    microseconds = [event["dur"] for event in events]
    order = sorted(range(len(events)), key=lambda i: (events[i]["ts"], -events[i]["dur"]))
    outer: list[int] = []
    for index in order:
        while outer and _end(events[outer[-1]]) <= events[index]["ts"]:
            outer.pop()
        if outer:
            microseconds[outer[-1]] -= events[index]["dur"]
        outer.append(index)
    return [
        Operation(event["args"]["source"], own / 1e6)
        for event, own in zip(events, microseconds, strict=True)
    ]


def _end(event: Event) -> float:
    return float(event["ts"] + event["dur"])


def part_of(source: str, depth: int) -> str:
    """The first `depth` names of a path, without transformations, functions inside, the primitive.

    jit(train_step)/pass_steering/transpose(jvp(MultiHead))/backbone/Conv_1/mul of depth 2 is
    train_step/pass_steering.
    """
    function, *inner = source.split("/")[:-1] or [source]
    names = [_bare(function)]
    for name in inner:
        bare = _bare(name)
        # A scope is repeated where only a part of it is differentiated.
        network = bare.split(".")[0] == MultiHead.__name__
        if not (_CALLED.fullmatch(name) or network or bare in (names[-1], "")):
            names.append(bare)
    return "/".join(names[:depth])


def _bare(name: str) -> str:
    match = _WRAPPED.fullmatch(name)
    return match[1] if match else name


def seconds_by_part(operations: Iterable[Operation], depth: int) -> dict[str, tuple[float, float]]:
    """By part, the longest first, the seconds of forward and backward operations."""
    found: dict[str, tuple[float, float]] = collections.defaultdict(lambda: (0.0, 0.0))
    for operation in operations:
        # The compiler puts semicolons between the paths of operations that it made one.
        source = operation.source.rpartition(";")[2]
        name = part_of(source, depth) if source else _NAMELESS
        forward, backward = found[name]
        if is_backward(source):
            found[name] = forward, backward + operation.seconds
        else:
            found[name] = forward + operation.seconds, backward
    return dict(sorted(found.items(), key=lambda item: -sum(item[1])))


def shares(operations: Sequence[Operation]) -> dict[str, float]:
    """By part of a step, the largest first, its share of the time of all operations."""
    by_part = seconds_by_part(operations, _PART)
    total = sum(map(sum, by_part.values())) or 1.0
    return {name: sum(both) / total for name, both in by_part.items()}


def table(operations: Sequence[Operation], steps: range) -> list[str]:
    """The text of `PARTS_FILE`: milliseconds a step of every part, and of every layer."""
    lines = [
        f"Steps {steps.start} to {steps.stop}: milliseconds a step of compiled operations.",
        "Those that ran at the same time, on several threads or devices, are added up. Where the",
        "compiler joins operations of several parts into one, it counts for one part alone.",
    ]
    for title, depth in (("part", _PART), ("layer", _LAYER)):
        rows = {
            name: [1000 * seconds / len(steps) for seconds in (*both, sum(both))]
            for name, both in seconds_by_part(operations, depth).items()
        }
        shown = {name: numbers for name, numbers in rows.items() if numbers[-1] >= _SHOWN}
        width = max(map(len, [title, *shown]))
        lines += ["", f"{title:{width}}   forward  backward       all"]
        lines += [
            f"{name:{width}}" + "".join(f"{number:10.3f}" for number in numbers)
            for name, numbers in shown.items()
        ]
    return lines
