"""How fast are our train step and our loader beside those of others?

Trains the networks of our configurations in this trainer, in Keras 3 on TensorFlow, JAX and PyTorch
with the published loop, and in plain PyTorch; reads the same images through our loader, tf.data and
PyTorch's DataLoader. Every peer is a process of its own; they are measured in turn, round after
round. Needs the extra `bench`. Where a library is missing its rows stay empty; --python names
another interpreter that has it (and Keras, for Keras's rows).

Writes benchmarks/results/peers.md and peers.json, and names what takes more CPU time than in the
run before: by more than 5 % and by more than its rounds differ. A run of some peers alone, or of
fewer than 7 rounds, prints and compares but writes nothing. The exit code is 1 where one of our
rows got slower or could not be measured, or a peer has another network than ours.

Command:
  python -m benchmarks.peers
  python -m benchmarks.peers --networks=pilotnet,loader --peers=ours,keras-tf --rounds=3
"""

import argparse
import dataclasses
import datetime
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.peer_workers import lineup, machine, records, rounds, table
from benchmarks.peer_workers.conversation import ROOT
from benchmarks.peer_workers.measurement import Measurement, slower

_LEAST_ROUNDS = 7
# Share of the cores that may be busy with other work before the first worker starts.
_QUIET = 0.1


def main() -> int:
    """Measures, prints, writes and compares; returns the exit code."""
    arguments = _arguments()
    busy = rounds.busy_share(2.0)
    if busy > _QUIET:
        print(f"Other work takes {busy:.0%} of the cores: small differences will mean nothing.")
    here = machine.machine_of(arguments.gpu or "cpu")
    file = arguments.output / "peers.json"
    history = records.read(file)
    before = records.latest(history, here)
    measured: dict[str, Measurement] = {}
    failures: list[str] = []
    for name in arguments.networks:
        measured[name] = _measured(name, arguments)
        print("\n" + table.section(measured[name]))
        failures += failures_of(before.get(name), measured[name])
    if arguments.peers or arguments.rounds < _LEAST_ROUNDS:
        print(f"Nothing is written: that takes all peers and {_LEAST_ROUNDS} rounds.")
    else:
        arguments.output.mkdir(parents=True, exist_ok=True)
        records.add(history, here, measured)
        records.write(file, history)
        pages = {name: records.latest(history, name) for name in history}
        file.with_suffix(".md").write_text(table.page(pages))
        print(f"Written: {file} and {file.with_suffix('.md')}")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({n: dataclasses.asdict(m) for n, m in measured.items()})
        )
    for failure in failures:
        print(failure)
    return 1 if failures else 0


def _measured(name: str, arguments: argparse.Namespace) -> Measurement:
    """The measurement of one network, or of the loader."""
    date = datetime.datetime.now().isoformat(" ", "minutes")
    load = os.getloadavg()[0]
    logs = ROOT / "runs" / "peers"
    logs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        task = lineup.task(name, Path(folder))
        plan = rounds.Plan(
            rounds=arguments.rounds,
            seconds=arguments.seconds,
            logs=logs,
            pythons=arguments.pythons,
            environment=_environment(arguments.gpu, folder),
        )
        chosen = [p for p in task.peers if not arguments.peers or p.name in arguments.peers]
        rows, others = rounds.measure(chosen, task.argument, plan, name)
    return Measurement(
        workload=name,
        text=task.text,
        images=task.images,
        rows=rows,
        date=date,
        commit=machine.commit(),
        rounds=arguments.rounds,
        load=(load, os.getloadavg()[0]),
        others=others,
    )


def _environment(gpu: str, folder: str) -> dict[str, str]:
    """Variables of all workers: no cache of compiled code, and one device that they share."""
    common = {
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    if gpu:
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        return common | {"CUDA_VISIBLE_DEVICES": first}
    return common | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}


def failures_of(before: Measurement | None, after: Measurement) -> list[str]:
    """What makes the exit code 1; prints which peers of others got slower."""
    failures = [
        f"{after.workload}: {row.peer} was not measured: {row.reason}"
        for row in after.rows
        if row.reason and (row.peer in lineup.REQUIRED or row.device)
    ]
    if before is None:
        print(f"{after.workload}: there is no earlier measurement of this machine to compare with.")
        return failures
    changes = slower(before, after)
    if not changes:
        print(f"{after.workload}: nothing got slower since {before.date} ({before.commit}).")
    for change in changes:
        text = f"{after.workload}, since {before.date} ({before.commit}): {change}"
        if change.peer.startswith("ours"):
            failures.append(text)
        else:
            print(text)
    return failures


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = lineup.names(with_gpu=True)
    peers = [peer.name for peer in (*lineup.STEP_PEERS, *lineup.LOADER_PEERS)]
    parser.add_argument("--networks", type=_names(known), help=f"some of {', '.join(known)}")
    parser.add_argument("--peers", type=_names(peers), help=f"some of {', '.join(peers)}")
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each peer")
    parser.add_argument("--seconds", type=float, default=1.5, help="work of one measurement")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="LIBRARY=PATH",
        help=f"another interpreter for one of {', '.join(lineup.LIBRARIES)}; may be repeated",
    )
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto", help="auto: a GPU")
    folder = ROOT / "benchmarks" / "results"
    parser.add_argument("--output", type=Path, default=folder, help="folder of the results")
    parser.add_argument("--json", type=Path, help="file for this run's numbers, whatever was run")
    arguments = parser.parse_args()
    arguments.pythons = dict.fromkeys(lineup.LIBRARIES, sys.executable)
    for text in arguments.python:
        library, _, path = text.partition("=")
        if library not in lineup.LIBRARIES or not path:
            parser.error(f"--python={text}: not one of {', '.join(lineup.LIBRARIES)} and a path")
        arguments.pythons[library] = path
    arguments.gpu = machine.gpu() if arguments.device == "auto" else ""
    arguments.networks = arguments.networks or lineup.names(with_gpu=bool(arguments.gpu))
    return arguments


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """A parser of names with commas between them."""

    def read(text: str) -> list[str]:
        unknown = [name for name in text.split(",") if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return text.split(",")

    return read


if __name__ == "__main__":
    sys.exit(main())
