"""What a run left in its workdir, read for the report: JSON files and the lines of metrics.jsonl.

Reads with tolerance where a run may still be going on or was stopped (a file is missing, the last
line is cut short, a number is None), and with a clear error where files contradict each other.
What the numbers mean to a reader is left to wording.py, plots.py and report.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from jaxdrive.errors import UserError

Json = dict[str, Any]


def read_json(path: epath.Path) -> Json | None:
    """The object in a JSON file, or None where there is no file."""
    if not path.exists():
        return None
    return _parse(path.read_bytes().decode("utf-8"), str(path))


def read_lines(path: epath.Path) -> list[Json]:
    """The objects of metrics.jsonl, in order; empty where there is no file.

    A last line without its line end is still being written, or was cut short, and is left out.
    """
    if not path.exists():
        return []
    *whole, _ = path.read_bytes().decode("utf-8").split("\n")
    return [_parse(line, f"{path}, line {i},") for i, line in enumerate(whole, start=1)]


def head_names(files: Mapping[str, Any], lines: Sequence[Json]) -> list[str]:
    """The heads in the order of the configuration, then any that only the results know."""
    names = [name for name, head in (files["config"] or {}).get("heads", {}).items() if head]
    for found in (files["balance"], files["evaluation"]):
        names += (found or {}).get("heads", {})
    names += [key.split("/")[1] for line in lines for key in line if key.count("/") == 2]
    return list(dict.fromkeys(names))


def draws(lines: Sequence[Json], head: str, balance: Json | None) -> list[int] | None:
    """Draws per bin over the whole run, in the order of the bins; None where none were recorded.

    Raises:
      UserError: the lines and balance.json do not have the same number of bins.
    """
    rows = [line[key] for line in lines if line.get(key := f"train/{head}/drawn")]
    if not rows:
        return None
    lengths = {len(row) for row in rows}
    if balance and head in balance["heads"]:
        lengths.add(len(balance["heads"][head]["bins"]))
    if len(lengths) > 1:
        raise UserError(
            f"{head}: metrics.jsonl and balance.json disagree on the number of bins, "
            f"{sorted(lengths)}; they stem from different runs, so train in a fresh workdir"
        )
    return [sum(column) for column in zip(*rows, strict=True)]


def alarms(lines: Sequence[Json], heads: Sequence[str]) -> list[Json]:
    """When the alarm of every head was on.

    Returns:
      [{"head", "begun": step, "ended": step, or None where it is still on}], in order of begun.
    """
    found = []
    for head in heads:
        begun = None
        for line in lines:
            on = line.get(f"train/{head}/alarm")
            if on and begun is None:
                begun = line["step"]
            elif on == 0 and begun is not None:
                found.append({"head": head, "begun": begun, "ended": line["step"]})
                begun = None
        if begun is not None:
            found.append({"head": head, "begun": begun, "ended": None})
    return sorted(found, key=lambda alarm: alarm["begun"])


def median(lines: Sequence[Json], key: str) -> float | None:
    """The median of a number, which the slow first step, where XLA compiles, does not move."""
    values = [line[key] for line in lines if line.get(key) is not None]
    return float(np.median(values)) if values else None


def _parse(text: str, place: str) -> Json:
    """An object, in which NaN stays NaN: a loss that diverged is something else than no loss."""
    try:
        value: Json = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{place} is not JSON ({error}); mend or delete it") from error
    return value
