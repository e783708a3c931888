"""How well do networks follow the drivers of real recordings? Folds, seeds, and any settings.

Trains and scores a configuration on folds of a recording, each run a command of its own as a user
would give it. Every finished run is a line of JSON in the results file, with the commit; a run that
is in the file is not made again, so the command can be repeated after an interruption. While
settings are chosen, runs are scored on their validation blocks alone; --split=test is for the final
numbers.

Command:
  python -m benchmarks.real_recordings --recording=udacity=DIR --recording=donkey=DIR \
    --folds=0,2,4 --name=shipped
  python -m benchmarks.real_recordings ... --name=power -- --config.balance_power=0.5
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peer_workers import machine
from benchmarks.peer_workers.conversation import ROOT

FOLDS = 5


def runs(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What identifies every run."""
    for recording in arguments.recordings:
        for fold in arguments.folds:
            for seed in arguments.seeds:
                yield {
                    "name": arguments.name,
                    "recording": recording,
                    "variant": arguments.variant,
                    "fold": fold,
                    "seed": seed,
                    "split": arguments.split,
                    "flags": arguments.flags,
                }


def made(run: Mapping[str, Any], path: str, datasets: Path) -> dict[str, Any]:
    """Trains and evaluates; returns seconds, step and scores.

    Raises:
      SystemExit: A command failed.
    """
    config = f"configs/{run['recording']}.py" + f":{run['variant']}" * bool(run["variant"])
    with tempfile.TemporaryDirectory(prefix="real-") as workdir:
        fields = [
            f"--config={config}",
            f"--config.data.path={path}",
            f"--config.data.dir={datasets}",
            f"--config.data.split.folds={FOLDS}",
            f"--config.data.split.fold={run['fold']}",
            f"--config.seed={run['seed']}",
            f"--workdir={workdir}",
            *run["flags"],
        ]
        started = time.perf_counter()
        _command("train", *fields)
        seconds = time.perf_counter() - started
        _command("evaluate", f"--workdir={workdir}", f"--split={run['split']}")
        found = json.loads((Path(workdir) / "evaluation.json").read_text())
    return {
        "seconds": round(seconds, 1),
        "step": found["step"],
        "frames": found["frames"],
        "heads": {
            name: {kind: score[kind] for kind in ("natural", "balanced")}
            for name, score in found["heads"].items()
        },
        "windowed": found["windowed"],
        "side_cameras": found["side_cameras"],
    }


def _command(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, "launch.py", *words], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def summary(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for every name and recording: means over folds and seeds."""
    lines = []
    for key in dict.fromkeys((line["recording"], line["name"]) for line in results):
        own = [line for line in results if (line["recording"], line["name"]) == key]
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
        lines.append(f"{key[0]:8} {key[1]:24} {len(own):2} runs  {text}")
    return lines


def main() -> None:
    """Makes the runs that are missing and prints means."""
    arguments = _arguments()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    text = arguments.output.read_text() if arguments.output.exists() else ""
    results = [json.loads(line) for line in text.splitlines()]
    known = [{name: line[name] for name in line if name in _KEYS} for line in results]
    for run in runs(arguments):
        if run in known:
            continue
        path = arguments.recordings[run["recording"]]
        line = run | made(run, path, arguments.datasets) | {"commit": machine.commit()}
        results.append(line)
        with arguments.output.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(summary([line])[0], flush=True)
    print("\n".join(summary([line for line in results if line["split"] == arguments.split])))


_KEYS = ("name", "recording", "variant", "fold", "seed", "split", "flags")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recording", action="append", default=[], metavar="CONFIG=DIR")
    parser.add_argument("--folds", type=_numbers, default=list(range(FOLDS)))
    parser.add_argument("--seeds", type=_numbers, default=[0])
    parser.add_argument("--name", default="shipped", help="of these settings, for the table")
    parser.add_argument("--variant", default="", help="of the configuration files")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    folder = ROOT / "runs" / "real_recordings"
    parser.add_argument("--output", type=Path, default=folder / "results.jsonl")
    parser.add_argument("--datasets", type=Path, default=folder / "datasets")
    parser.add_argument("flags", nargs="*", help="after --: fields of the configuration")
    arguments = parser.parse_args()
    arguments.recordings = {
        name: str(Path(path).absolute())
        for name, path in (text.split("=", 1) for text in arguments.recording)
    }
    return arguments


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    main()
