"""Where measurements are kept: `peers.json`, the latest few of every machine and workload."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peer_workers.measurement import Measurement

_KEPT = 3

# By machine and workload, the measurements, the latest first.
History = dict[str, dict[str, list[dict[str, Any]]]]


def read(path: Path) -> History:
    """What is kept; nothing where there is no file."""
    return json.loads(path.read_text()) if path.exists() else {}


def write(path: Path, history: History) -> None:
    """Writes it with every list of numbers on one line."""
    text = json.dumps(history, indent=1)
    numbers = re.compile(r"\[\s+([-+.\deE,\s]+?)\s+\]")
    path.write_text(numbers.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n")


def latest(history: History, machine: str) -> dict[str, Measurement]:
    """By workload, the latest measurement of a machine."""
    return {
        workload: Measurement.from_dict(kept[0])
        for workload, kept in history.get(machine, {}).items()
    }


def add(history: History, machine: str, measurements: Mapping[str, Measurement]) -> None:
    """Adds the measurements of a machine, and drops the oldest."""
    for workload, measurement in measurements.items():
        kept = history.setdefault(machine, {}).setdefault(workload, [])
        kept.insert(0, _rounded(dataclasses.asdict(measurement)))
        del kept[_KEPT:]


def _rounded(value: Any) -> Any:
    """Numbers with six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {name: _rounded(own) for name, own in value.items()}
    return [_rounded(own) for own in value] if isinstance(value, list | tuple) else value
