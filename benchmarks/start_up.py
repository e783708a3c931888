"""How long from the command to the first update, with and without programs compiled before?

Starts `launch.py train` with configs/udacity.py:pedals on a prepared dataset of random images,
waits for the metrics of the first update, and ends it; CPU seconds are those of all its threads.
The first start finds no compiled program, the second one those that the first has left.

Command:
  python -m benchmarks.start_up
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.peer_workers import loader_data, machine
from benchmarks.peer_workers.conversation import ROOT
from jaxdrive import workdir
from jaxdrive.training.writers import METRICS_FILE

_LIMIT_SECONDS = 300


def start(folder: Path, name: str) -> dict[str, float]:
    """{"wall", "cpu": seconds until the first update} of one start.

    Args:
      folder: With a dataset in `dataset`; compiled programs are kept there too.
      name: Of the workdir.
    """
    command = [
        *(sys.executable, "launch.py", "train", "--config=configs/udacity.py:pedals"),
        *(f"--config.data.prepared={folder / 'dataset'}", f"--config.data.dir={folder}"),
        *(f"--workdir={folder / name}", "--config.log_every=1", "--config.eval_every=0"),
        "--config.gradients_every=0",
    ]
    started = time.perf_counter()
    log = folder / f"{name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    metrics = folder / name / METRICS_FILE
    try:
        while not metrics.exists() or not metrics.stat().st_size:
            time.sleep(0.02)
            if process.poll() is not None or time.perf_counter() - started > _LIMIT_SECONDS:
                raise SystemExit(f"there was no first update:\n{log.read_text()}")
        wall, times = time.perf_counter() - started, psutil.Process(process.pid).cpu_times()
    finally:
        process.kill()
        process.wait()
    return {"wall": wall, "cpu": times.user + times.system}


def main() -> None:
    """Starts twice and prints a table, and a line of JSON for `benchmarks/results/`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="start-up-") as name:
        folder = Path(name)
        loader_data.write_dataset(folder / "dataset", records=256)
        seconds = {kind: start(folder, kind) for kind in ("cold", "cached")}
    print(f"{'':8} {'wall s':>8} {'CPU s':>8}")
    for kind, taken in seconds.items():
        print(f"{kind:8} {taken['wall']:8.1f} {taken['cpu']:8.1f}")
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine.machine_of(machine.gpu() or "cpu"),
        "versions": workdir.versions(),
        "seconds": seconds,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
