"""The results file of the benchmarks on real recordings: what a run is, its line, how to resume.

Every finished run is a line of JSON: what identifies it, seconds, scores, and the commit. Networks
of ours (`real_recordings.py`), ridge regressions (`real_ridge.py`) and Keras (`real_keras.py`)
write lines of one form to one file, which `real_compare.py` reads. A run that is in the file is not
made again, so a command can be repeated after an interruption.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peer_workers import machine
from benchmarks.peer_workers.conversation import ROOT

FOLDS = 5
# The name of our runs with the settings of the configuration files.
SHIPPED = "shipped"
# What identifies a run.
KEYS = ("name", "recording", "variant", "fold", "seed", "split", "flags")

_FOLDER = ROOT / "runs" / "real_recordings"
Line = Mapping[str, Any]


def parser(text: str | None) -> argparse.ArgumentParser:
    """The arguments that all these benchmarks take.

    Args:
      text: What the benchmark does, for --help.
    """
    found = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument(
        "--recording",
        dest="recordings",
        action=_Recordings,
        default={},
        metavar="CONFIG=DIR",
        help="a configuration file's name and the folder of its recording; may be repeated",
    )
    found.add_argument("--folds", type=_numbers, default=list(range(FOLDS)))
    found.add_argument("--seeds", type=_numbers, default=[0])
    found.add_argument("--variant", default="", help="of the configuration files")
    found.add_argument("--datasets", type=Path, default=_FOLDER / "datasets")
    add_file_arguments(found)
    return found


def add_file_arguments(found: argparse.ArgumentParser) -> None:
    """Adds which file of results, and which split."""
    found.add_argument("--output", type=Path, default=_FOLDER / "results.jsonl")
    found.add_argument("--split", choices=("validation", "test"), default="validation")


class _Recordings(argparse.Action):
    def __call__(self, own: Any, found: Any, text: Any, option: Any = None) -> None:
        name, equals, folder = text.partition("=")
        if not (name and equals and Path(folder).is_dir()):
            own.error(f"{option}={text}: give CONFIG=DIR with an existing folder DIR")
        found.recordings = found.recordings | {name: str(Path(folder).absolute())}


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def runs(
    arguments: argparse.Namespace, names: Sequence[str], flags: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """What identifies every run, by the keys `KEYS`.

    Args:
      arguments: Of `parser`.
      names: Of what is trained.
      flags: Settings that differ from the usual ones.
    """
    for recording in arguments.recordings:
        for name in names:
            for fold in arguments.folds:
                for seed in arguments.seeds:
                    yield {
                        "name": name,
                        "recording": recording,
                        "variant": arguments.variant,
                        "fold": fold,
                        "seed": seed,
                        "split": arguments.split,
                        "flags": list(flags),
                    }


def read(file: Path) -> list[dict[str, Any]]:
    """The lines of a file of results; none where it does not exist.

    Raises:
      SystemExit: A line is no JSON.
    """
    found = []
    text = file.read_text() if file.exists() else ""
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            raise SystemExit(
                f"{file}, line {number} is no JSON ({error}): delete the line, and repeat the"
                " command to make its run again"
            ) from error
    return found


def complete(
    arguments: argparse.Namespace,
    wanted: Iterable[dict[str, Any]],
    made: Callable[[dict[str, Any]], Mapping[str, Any]],
) -> None:
    """Makes the runs that the file does not have, adds their lines, and prints means of all.

    Args:
      arguments: Of `parser`.
      wanted: What identifies each run.
      made: Makes a run; returns its seconds, step and scores.
    """
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    lines = read(arguments.output)
    known = [{key: line[key] for key in KEYS} for line in lines]
    for run in wanted:
        if run in known:
            continue
        line = run | dict(made(run)) | {"commit": machine.commit()}
        lines.append(line)
        with arguments.output.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(summary([line])[0], flush=True)
    print("\n".join(summary([line for line in lines if line["split"] == arguments.split])))


def summary(lines: Sequence[Line]) -> list[str]:
    """A line of text for every recording and name: means over folds and seeds."""
    texts = []
    for key in dict.fromkeys((line["recording"], line["name"]) for line in lines):
        own = [line for line in lines if (line["recording"], line["name"]) == key]
        windows = [line["windowed"]["steering"][0] for line in own]
        ratios = [window["ratio"] for window in windows]
        steering = [line["heads"]["steering"] for line in own]
        numbers = {
            "ratio 1 s": statistics.mean(ratios),
            "worst": max(ratios),
            "R2 1 s": statistics.mean(window["r2"] for window in windows),
            "natural R2": statistics.mean(score["natural"]["skill"] for score in steering),
            "balanced R2": statistics.mean(score["balanced"]["skill"] for score in steering),
            "balanced MAE": statistics.mean(score["balanced"]["mae"] for score in steering),
            "seconds": statistics.mean(line["seconds"] for line in own),
        }
        text = "  ".join(f"{name} {value:.3f}" for name, value in numbers.items())
        texts.append(f"{key[0]:8} {key[1]:24} {len(own):2} runs  {text}")
    return texts


def usual_seconds(lines: Sequence[Line], recording: str, name: str = SHIPPED) -> float:
    """The median seconds that runs of one name took for a recording.

    Raises:
      SystemExit: There is no such run.
    """
    found = [
        line["seconds"] for line in lines if (line["recording"], line["name"]) == (recording, name)
    ]
    if not found:
        raise SystemExit(
            f"the results have no run {name!r} of {recording} whose seconds can be taken: make it"
            " with benchmarks.real_recordings, or give --seconds"
        )
    return statistics.median(found)
