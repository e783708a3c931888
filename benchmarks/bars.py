"""Does the software still hold the bars that it has reached?

Runs the commands of `bar_list.py` one after the other, each in a process of its own with a time
limit, in about 15 minutes on two cores, and writes benchmarks/results/bars.md and bars.json. Bars
that were not run keep their last result, with its commit and date. The exit code is 1 where a bar
that was run does not hold.

Two commands need recordings and are skipped without: --udacity=DIR and --donkey=DIR. The speeds
against Keras on TensorFlow need the extra `bench`, or --python tensorflow=PATH as in
`benchmarks.peers`. Speeds mean something only where nothing else runs.

Command:
  python -m benchmarks.bars --udacity=DIR --donkey=DIR
  python -m benchmarks.bars --only=quickstart,server
"""

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bar_list import CHECKS, Bar, Check, Inputs
from benchmarks.peer_workers import machine, rounds
from benchmarks.peer_workers.conversation import ROOT

_QUIET = 0.1
_LOGS = ROOT / "runs" / "bars"


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a bar.

    Attributes:
      number: What was read; None where it was not measured.
      reason: Why not; "" where it was.
      seconds: That the whole check took.
      date: Day and time.
      commit: Of the checkout.
      machine: Where.
    """

    number: float | None
    reason: str
    seconds: float
    date: str
    commit: str
    machine: str


class CheckError(Exception):
    """A check that gave no numbers; the text says why."""


def main() -> int:
    """Runs the checks, prints and writes the table; returns the exit code."""
    arguments = _arguments()
    busy = rounds.busy_share(2.0)
    if busy > _QUIET:
        print(f"Other work takes {busy:.0%} of the cores: speeds will be too low.")
    file = arguments.output / "bars.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    results = {name: Result(**fields) for name, fields in known.items()}
    measured: dict[str, Result] = {}
    for check in CHECKS:
        if arguments.only and check.name not in arguments.only:
            continue
        if check.needs and not arguments.recordings[check.needs]:
            print(f"{check.name}: skipped, it needs a recording: --{check.needs}=DIR", flush=True)
            continue
        print(f"{check.name} ...", flush=True)
        found = run(check, arguments.recordings, arguments.pythons)
        for bar in check.bars:
            line = _line(bar, found[bar.name]) if bar.name in found else f"{bar.name}: no number"
            print(line, flush=True)
        measured |= found
        results |= found
        _write(file, results)
    broken = [bar for check in CHECKS for bar in check.bars if _broken(bar, measured)]
    print(f"{len(measured) - len(broken)} of {len(measured)} bars that were run hold.")
    return 1 if broken else 0


def run(check: Check, recordings: Mapping[str, str], pythons: Sequence[str]) -> dict[str, Result]:
    """By bar, the result of a check; a bar whose number a command left out has none."""
    numbers: Mapping[str, float] = {}
    reason, started = "", time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="bars-") as name:
        inputs = Inputs(Path(name), recordings, pythons)
        try:
            numbers = _numbers(check, inputs)
        except CheckError as error:
            reason = str(error)
    about: dict[str, Any] = {
        "seconds": time.perf_counter() - started,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "commit": machine.commit(),
        "machine": machine.machine_of("cpu"),
    }
    return {
        bar.name: Result(numbers.get(bar.number), reason, **about)
        for bar in check.bars
        if reason or bar.number in numbers
    }


def _numbers(check: Check, inputs: Inputs) -> dict[str, float]:
    """What the commands of a check gave.

    Raises:
      CheckError: One failed or took too long, or did not give what is read.
    """
    ends = time.monotonic() + check.limit
    printed, gigabytes, first_seconds = "", 0.0, 0.0
    for number, words in enumerate(check.commands(inputs)):
        started = time.perf_counter()
        text, largest = _run([sys.executable, *words], ends, _log(check, number))
        if not number:
            first_seconds = time.perf_counter() - started
        printed, gigabytes = printed + text, max(gigabytes, largest)
    try:
        numbers = check.read(inputs.folder, printed)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckError(f"no number to read: {type(error).__name__}: {error}") from error
    return {**numbers, "seconds": first_seconds, "gigabytes": gigabytes}


def _log(check: Check, number: int) -> Path:
    _LOGS.mkdir(parents=True, exist_ok=True)
    return _LOGS / f"{check.name}-{number}.log"


def _run(command: Sequence[str], ends: float, log: Path) -> tuple[str, float]:
    """What a command printed on stdout, and the memory of its largest process in GB.

    Raises:
      CheckError: It failed, or did not end in time.
    """
    output = log.with_suffix(".out")
    with log.open("w") as errors, output.open("w") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=errors,
            start_new_session=True,
        )
        # With all the processes that it has started.
        timer = threading.Timer(max(0.0, ends - time.monotonic()), _kill_group, [process.pid])
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            _kill_group(process.pid)
            process.wait()
            raise
        finally:
            late = not timer.is_alive()
            timer.cancel()
    code = process.returncode = os.waitstatus_to_exitcode(status)
    if late:
        raise CheckError("took too long and was ended")
    if code:
        lines = (output.read_text() + log.read_text()).strip().splitlines()
        raise CheckError(f"exit code {code}: {lines[-1] if lines else 'nothing printed'}")
    return output.read_text(), usage.ru_maxrss / 2**20


def _kill_group(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)


def _broken(bar: Bar, measured: Mapping[str, Result]) -> bool:
    result = measured.get(bar.name)
    return result is not None and not _holds(bar, result)


def _holds(bar: Bar, result: Result) -> bool:
    return result.number is not None and bar.holds(result.number)


def _line(bar: Bar, result: Result | None) -> str:
    """A line of the table."""
    bound = f"{'at least' if bar.at_least else 'at most'} {bar.bound:g}"
    if result is None:
        return f"| {bar.text} | {bound} | | not run | | | |"
    number = result.reason if result.number is None else f"{result.number:.4g}"
    held = "yes" if _holds(bar, result) else "**no**"
    about = f"{result.seconds:.0f} | {result.date} | {result.commit}"
    return f"| {bar.text} | {bound} | {number} | {held} | {about} |"


def _write(file: Path, results: Mapping[str, Result]) -> None:
    """Writes the table and the JSON."""
    machines = sorted({result.machine for result in results.values()})
    lines = [
        "# Bars that every change has to hold",
        "",
        "`python -m benchmarks.bars --udacity=DIR --donkey=DIR` runs them all. What was not run",
        "keeps its last result. Seconds are those of the whole check, which can show several bars.",
        "",
        f"Machine: {'; '.join(machines)}.",
        "",
        "| bar | bound | number | holds | seconds | date | commit |",
        "|---|---|---|---|---|---|---|",
        *(_line(bar, results.get(bar.name)) for check in CHECKS for bar in check.bars),
    ]
    names = [bar.name for check in CHECKS for bar in check.bars if bar.name in results]
    kept = {name: dataclasses.asdict(results[name]) for name in names}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.with_suffix(".md").write_text("\n".join(lines) + "\n")
    file.write_text(json.dumps(kept, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [check.name for check in CHECKS]
    parser.add_argument("--only", help=f"some of {', '.join(names)}")
    parser.add_argument("--udacity", default="", help="folder of a recording of the simulator")
    parser.add_argument("--donkey", default="", help="folder of a Donkeycar's tub")
    parser.add_argument(
        "--python", action="append", default=[], metavar="LIBRARY=PATH", help="see benchmarks.peers"
    )
    folder = ROOT / "benchmarks" / "results"
    parser.add_argument("--output", type=Path, default=folder, help="folder of the results")
    arguments = parser.parse_args()
    arguments.only = arguments.only.split(",") if arguments.only else []
    unknown = [name for name in arguments.only if name not in names]
    if unknown:
        parser.error(f"--only={unknown[0]} is none of {', '.join(names)}")
    arguments.recordings = {
        name: str(Path(folder).absolute()) if folder else ""
        for name, folder in (("udacity", arguments.udacity), ("donkey", arguments.donkey))
    }
    arguments.pythons = [f"--python={text}" for text in arguments.python]
    return arguments


if __name__ == "__main__":
    sys.exit(main())
