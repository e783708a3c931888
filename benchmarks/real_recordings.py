"""How well do networks follow the drivers of real recordings? Folds, seeds, and any settings.

Trains and scores a configuration on folds of a recording, each run a command of its own as a user
would give it. `real_results.py` says how runs are kept and resumed. While settings are chosen, runs
are scored on their validation blocks alone; --split=test is for the final numbers.

Command:
  python -m benchmarks.real_recordings --recording=udacity=DIR --recording=donkey=DIR \
    --folds=0,2,4 --name=shipped
  python -m benchmarks.real_recordings ... --name=power -- --config.balance_power=0.5
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import real_results
from benchmarks.peer_workers.conversation import ROOT


def made(run: Mapping[str, Any], path: str, datasets: Path) -> dict[str, Any]:
    """Trains and evaluates; returns seconds of the whole training command, step and scores.

    Raises:
      SystemExit: A command failed.
    """
    config = f"configs/{run['recording']}.py" + f":{run['variant']}" * bool(run["variant"])
    with tempfile.TemporaryDirectory(prefix="real-") as workdir:
        fields = [
            f"--config={config}",
            f"--config.data.path={path}",
            f"--config.data.dir={datasets}",
            f"--config.data.split.folds={real_results.FOLDS}",
            f"--config.data.split.fold={run['fold']}",
            f"--config.seed={run['seed']}",
            f"--workdir={workdir}",
            *run["flags"],
        ]
        started, used = time.perf_counter(), _cpu_seconds()
        _command("train", *fields)
        seconds, used = time.perf_counter() - started, _cpu_seconds() - used
        _command("evaluate", f"--workdir={workdir}", f"--split={run['split']}")
        found = json.loads((Path(workdir) / "evaluation.json").read_text())
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used, 1),
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


def _cpu_seconds() -> float:
    """Of the commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Makes the runs that are missing and prints means."""
    parser = real_results.parser(__doc__)
    parser.add_argument("--name", default=real_results.SHIPPED, help="of these settings")
    parser.add_argument("flags", nargs="*", help="after --: fields of the configuration")
    arguments = parser.parse_args()
    real_results.complete(
        arguments,
        real_results.runs(arguments, [arguments.name], arguments.flags),
        lambda run: made(run, arguments.recordings[run["recording"]], arguments.datasets),
    )


if __name__ == "__main__":
    main()
