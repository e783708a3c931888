"""How long does another table of stored images take, as a share of the first `prepare`?

Prepares a recording of the Udacity simulator in an empty folder, then again with another split,
another fold, changed labels in its log, and another balance. None of these may read or store an
image. Prints seconds and CPU seconds of this process and its workers, medians of the rounds; the
last line is JSON.

Command:
  python -m benchmarks.tables --recording=DIR
"""

import argparse
import gc
import json
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LOG, IMAGES = "driving_log.csv", "IMG"


def copied(recording: Path, folder: Path, *, steering: float) -> Path:
    """A copy of the recording, with steering changed by a factor."""
    shutil.copytree(recording / IMAGES, folder / IMAGES)
    lines = (recording / LOG).read_text().splitlines()
    rows = [line.split(",") for line in lines]
    for row in rows:
        if _is_number(row[3]):
            row[3] = str(float(row[3]) * steering)
    (folder / LOG).write_text("\n".join(",".join(row) for row in rows) + "\n")
    return folder


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def changes(data: Mapping[str, Any], relabelled: Path) -> dict[str, dict[str, Any]]:
    """By what differs from the first `prepare`, the settings of another one."""
    split = dict(data["split"])
    return {
        "split": {**data, "split": split | {"validation": split["validation"] / 2}},
        "fold": {**data, "split": split | {"folds": 5, "fold": 2}},
        "labels": {**data, "path": str(relabelled)},
        # Balancing is no part of a dataset: it is only opened.
        "balance": dict(data),
    }


def cpu_seconds() -> float:
    """Of this process and of its workers that have ended."""
    own, ended = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds of a call."""
    # Each is a command of its own in use: none has to collect what those before it left.
    gc.collect()
    wall, cpu = time.perf_counter(), cpu_seconds()
    call()
    return time.perf_counter() - wall, cpu_seconds() - cpu


def stored(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file of a store, with its inode and the time when it was written."""
    files = folder.glob("images-*/*")
    return {str(file): (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def main() -> None:
    """Times everything in turn and prints it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recording", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    from configs import udacity
    from jaxdrive.data.prepare import prepare

    times: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        recording = copied(arguments.recording.resolve(), Path(scratch) / "as is", steering=1.0)
        relabelled = copied(arguments.recording.resolve(), Path(scratch) / "other", steering=0.5)
        for number in range(arguments.rounds):
            folder = Path(scratch) / f"datasets {number}"
            place = {"path": str(recording), "dir": str(folder)}
            data = udacity.get_config().data.to_dict() | place
            times.setdefault("first", []).append(timed(lambda data=data: prepare(data)))
            before = stored(folder)
            for name, other in changes(data, relabelled).items():
                times.setdefault(name, []).append(timed(lambda other=other: prepare(other)))
            if stored(folder) != before:
                raise SystemExit("images were stored again")
    shares = {}
    for name, found in times.items():
        wall, cpu = (statistics.median(column) for column in zip(*found, strict=True))
        ratios = [a[0] / b[0] for a, b in zip(found, times["first"], strict=True)]
        shares[name] = statistics.median(ratios)
        print(f"{name:8} {wall:6.3f} s, {cpu:6.3f} CPU-s, {shares[name]:6.1%} of the first's time")
    del shares["first"]
    print(json.dumps({"shares": shares, "largest": max(shares.values())}))


if __name__ == "__main__":
    main()
