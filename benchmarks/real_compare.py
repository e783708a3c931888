"""Ours beside its peers on real recordings, as Markdown, with differences fold by fold.

Reads the file of results that `real_recordings.py`, `real_ridge.py` and `real_keras.py` wrote. For
a difference the runs of a fold are averaged over their seeds, and folds are paired: each peer and
ours learned from the same frames and are scored on the same ones. Its 90 % interval is that of
Student's t over the folds. Folds share training frames, so the interval is somewhat too narrow.

Command:
  python -m benchmarks.real_compare --split=validation
"""

import argparse
import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks import real_results
from benchmarks.real_results import SHIPPED, Line
from jaxdrive.evaluation.fold_summary import mean_interval

# In the order of the table.
TITLES = {
    SHIPPED: "ours",
    "ridge_none": "ridge, frames as recorded",
    "ridge_half": "ridge, half-equal bins",
    "keras_usual": "Keras, usual",
    "keras_capped": "Keras, capped bins",
    "straight_on": "straight on",
}
_NONE = "unknown"
Value = Callable[[Line], float | None]


def _windowed(key: str) -> Value:
    return lambda line: line["windowed"]["steering"][0][key]


def _mae(kind: str) -> Value:
    return lambda line: line["heads"]["steering"][kind]["mae"]


# Columns that are means over folds, each the mean over its seeds.
MEANS: Mapping[str, Value] = {
    "windowed ratio": _windowed("ratio"),
    "windowed R²": _windowed("r2"),
    "correlation": _windowed("correlation"),
    "balanced MAE": _mae("balanced"),
    "natural MAE": _mae("natural"),
    "seconds": lambda line: line["seconds"],
    "CPU seconds": lambda line: line.get("cpu_seconds"),
}
COMPARED = ("windowed ratio", "balanced MAE")


@dataclasses.dataclass(frozen=True)
class Difference:
    """Of ours minus a peer, over folds.

    Attributes:
      mean: Over the folds.
      low: Lower end of the interval; None of fewer than two folds.
      high: Upper end.
      folds: How many.
    """

    mean: float
    low: float | None
    high: float | None
    folds: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.mean:+.3f} (one fold: no interval)"
        verdict = "excludes 0" if self.low > 0 or self.high < 0 else "includes 0"
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f}), {verdict}"


def by_fold(lines: Sequence[Line], value: Value) -> dict[int, float]:
    """By fold the mean over seeds; folds without the value are left out."""
    found = {}
    for fold in sorted({line["fold"] for line in lines}):
        values = [value(line) for line in lines if line["fold"] == fold]
        known = [number for number in values if number is not None]
        if known:
            found[fold] = statistics.mean(known)
    return found


def pooled(lines: Sequence[Line]) -> float:
    """The ratio of windowed errors over the windows of all folds together."""
    windows = [line["windowed"]["steering"][0] for line in lines]
    errors, straight = (
        sum(window["windows"] * window[key] ** 2 for window in windows if window["windows"])
        for key in ("rmse", "straight_on")
    )
    return math.sqrt(errors / straight) if straight else math.nan


def difference(ours: Mapping[int, float], peer: Mapping[int, float]) -> Difference | None:
    """Ours minus a peer, over the folds that both have; None where they share none."""
    found = mean_interval(ours[fold] - peer[fold] for fold in ours if fold in peer)
    if not found["folds"]:
        return None
    low, high = found["interval"] or (None, None)
    return Difference(found["mean"], low, high, found["folds"])


def tables(lines: Sequence[Line]) -> list[str]:
    """Lines of Markdown: for every recording its scores, then its differences.

    Args:
      lines: Of one split.

    Raises:
      SystemExit: Two lines are of the same fold and seed.
    """
    texts = []
    for recording in dict.fromkeys(line["recording"] for line in lines):
        own = {
            name: [line for line in lines if (line["recording"], line["name"]) == (recording, name)]
            for name in TITLES
        }
        found = {name: rows for name, rows in own.items() if rows}
        for rows in found.values():
            _check(rows)
        if found:
            texts += [f"## {recording}", "", *_scores(found), "", *_differences(found), ""]
    return texts


def _check(lines: Sequence[Line]) -> None:
    seen: dict[tuple[int, int], Line] = {}
    for line in lines:
        key = line["fold"], line["seed"]
        if key in seen:
            both = [f"{one['variant']!r} {one['flags']}" for one in (seen[key], line)]
            raise SystemExit(
                f"the results have two lines {line['name']!r} of {line['recording']}, fold"
                f" {key[0]}, seed {key[1]}, with the variants and flags {' and '.join(both)}: keep"
                " one of them, or give a file of its own with --output"
            )
        seen[key] = line


def _scores(found: Mapping[str, Sequence[Line]]) -> list[str]:
    first, *others = MEANS
    head = ["", f"{first}, 1 s", "pooled", *others, "folds", "seeds"]
    rows = []
    for name, lines in found.items():
        means = [
            _mean(by_fold(lines, value), digits=1 if "seconds" in key else 3)
            for key, value in MEANS.items()
        ]
        folds, seeds = (str(len({line[key] for line in lines})) for key in ("fold", "seed"))
        rows.append([TITLES[name], means[0], f"{pooled(lines):.3f}", *means[1:], folds, seeds])
    return _markdown(head, rows)


def _mean(values: Mapping[int, float], *, digits: int) -> str:
    return f"{statistics.mean(values.values()):.{digits}f}" if values else _NONE


def _differences(found: Mapping[str, Sequence[Line]]) -> list[str]:
    if SHIPPED not in found:
        return [f"No runs named {SHIPPED!r}, so no differences."]
    head = ["ours minus", *COMPARED, "folds"]
    rows = []
    for name, lines in found.items():
        if name == SHIPPED:
            continue
        both = [
            difference(by_fold(found[SHIPPED], MEANS[key]), by_fold(lines, MEANS[key]))
            for key in COMPARED
        ]
        folds = str(max(one.folds if one else 0 for one in both))
        rows.append([TITLES[name], *(str(one) if one else _NONE for one in both), folds])
    return _markdown(head, rows)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]


def main() -> None:
    """Prints the tables of one split."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    real_results.add_file_arguments(parser)
    arguments = parser.parse_args()
    lines = real_results.read(arguments.output)
    own = [line for line in lines if line["split"] == arguments.split]
    if not own:
        raise SystemExit(f"{arguments.output} has no results of {arguments.split} blocks")
    print("\n".join(tables(own)))


if __name__ == "__main__":
    main()
