"""The bars that every change has to hold: what runs, which number counts, and its bound.

Data for `bars.py`. Who reaches a new bar adds it here: a command that takes at most a few minutes
on two cores, and a number that it prints or writes.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.peer_workers.measurement import Measurement, speed

Numbers = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Bar:
    """A number that has to stay on its side of a bound.

    Attributes:
      name: For the command line and the files.
      text: What it is, with its unit.
      number: Its key in what the check reads.
      bound: That it has to reach or stay below.
      at_least: Whether larger is better.
    """

    name: str
    text: str
    number: str
    bound: float
    at_least: bool = False

    def holds(self, number: float) -> bool:
        """Whether a number is on the right side; NaN is not."""
        return number >= self.bound if self.at_least else number <= self.bound


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What the commands need.

    Attributes:
      folder: Empty, for whatever the commands write.
      recordings: By name, "udacity" or "donkey", the folder of a recording; "" where there is none.
      pythons: Flags for `benchmarks.peers`.
    """

    folder: Path
    recordings: Mapping[str, str]
    pythons: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Check:
    """Commands that run one after the other, and the bars that they show.

    Attributes:
      name: For the command line.
      commands: Makes the commands, each a list of words after the Python interpreter.
      read: Makes the numbers of the folder and what all commands printed on stdout. "seconds",
        "gigabytes" (the largest memory of a process) are added.
      bars: That these numbers have to hold.
      limit: Seconds after which the check has failed.
      needs: The recording without which it is skipped; "" where it needs none.
    """

    name: str
    commands: Callable[[Inputs], Sequence[Sequence[str]]]
    read: Callable[[Path, str], Numbers]
    bars: Sequence[Bar]
    limit: int
    needs: str = ""


def last_json(printed: str) -> dict:
    """The last line, which is the JSON of a benchmark."""
    return json.loads(printed.strip().splitlines()[-1])


def _first(pattern: str, printed: str) -> float:
    """The number that a pattern finds first.

    Raises:
      ValueError: There is none.
    """
    found = re.search(pattern, printed)
    if found is None:
        raise ValueError(f"nothing printed looks like {pattern}")
    return float(found[1])


def _train(config: str, inputs: Inputs, *flags: str) -> list[str]:
    file, colon, variant = config.partition(":")
    return [
        *("launch.py", "train", f"--config=configs/{file}.py{colon}{variant}", *flags),
        *(f"--workdir={inputs.folder / 'run'}", f"--config.data.dir={inputs.folder / 'datasets'}"),
    ]


def _balanced_steering(folder: Path) -> float:
    scores = json.loads((folder / "run" / "evaluation.json").read_text())
    return scores["heads"]["steering"]["balanced"]["skill"]


def _quickstart(folder: Path, printed: str) -> Numbers:
    drive = json.loads((folder / "run" / "drive.json").read_text())
    return {
        "score": drive["mean"],
        "laps": drive["finished"],
        "steering": _balanced_steering(folder),
    }


def _expert(folder: Path, printed: str) -> Numbers:
    return {"score": _first(r"mean ([\d.]+)", printed)}


def _parity(folder: Path, printed: str) -> Numbers:
    rows = last_json(printed)["differences"]
    return {
        "float32": max(row["absolute"] for row in rows if row["dtype"] == "float32"),
        "float64": max(row["relative"] for row in rows if row["dtype"] == "float64"),
    }


def _udacity(folder: Path, printed: str) -> Numbers:
    served = last_json(printed)["largest_difference"]
    return {"steering": _balanced_steering(folder), "difference": served}


def _donkey(folder: Path, printed: str) -> Numbers:
    answer = _first(r"95 % of them at most ([\d.]+) ms", printed)
    return {"steering": _balanced_steering(folder), "answer": answer}


def _tables(folder: Path, printed: str) -> Numbers:
    return {"largest": 100 * last_json(printed)["largest"]}


def _passed(folder: Path, printed: str) -> Numbers:
    return {"passed": _first(r"(\d+) passed", printed)}


def _real(folder: Path, printed: str) -> Numbers:
    (line,) = map(json.loads, (folder / "results.jsonl").read_text().splitlines())
    return {
        "ratio": line["windowed"]["steering"][0]["ratio"],
        "mae": line["heads"]["steering"]["balanced"]["mae"],
    }


def _server(folder: Path, printed: str) -> Numbers:
    return {"answer": last_json(printed)["milliseconds"]["answer"]["p95"]}


def _diagnostics(folder: Path, printed: str) -> Numbers:
    return {"share": 100 * last_json(printed)["share"]}


def _start_up(folder: Path, printed: str) -> Numbers:
    return {"cached": last_json(printed)["seconds"]["cached"]["cpu"]}


def _peers(folder: Path, printed: str) -> Numbers:
    """By network our speed as a share of Keras-TF's, where that is installed, and our start."""
    numbers = {}
    for name, fields in json.loads((folder / "measured.json").read_text()).items():
        measured = Measurement.from_dict(fields)
        ours, theirs = measured.row("ours"), measured.row("keras-tf")
        native = measured.row("ours-native")
        if ours:
            numbers[f"{name}-start"] = ours.startup_wall
        if ours and theirs:
            numbers[name] = speed(ours, theirs, "wall")
        if native and theirs:
            numbers[f"{name}-native"] = speed(native, theirs, "wall")
    return numbers


def _real_check(name: str, recording: str, *, ratio: float, mae: float) -> Check:
    """The shipped configuration on validation blocks of fold 0, with its largest errors."""

    def commands(inputs: Inputs) -> list[list[str]]:
        output, datasets = inputs.folder / "results.jsonl", inputs.folder / "datasets"
        return [
            [
                *("-m", "benchmarks.real_recordings", "--folds=0"),
                f"--recording={name}={inputs.recordings[name]}",
                *(f"--output={output}", f"--datasets={datasets}"),
            ]
        ]

    bars = (
        Bar(f"{name}-ratio", f"{recording}: windowed error, of straight on", "ratio", ratio),
        Bar(f"{name}-mae", f"{recording}: balanced MAE", "mae", mae),
    )
    return Check(f"real-{name}", commands, _real, bars, limit=300, needs=name)


_NETWORKS = ("pilotnet", "xception", "quickstart")
_COMPARED = ("ours", "ours-native", "keras-tf")

CHECKS = (
    Check(
        "quickstart",
        lambda inputs: [_train("quickstart", inputs)],
        _quickstart,
        (
            Bar("score", "mean score over 20 unseen tracks", "score", 920, True),
            Bar("laps", "laps finished, of 20", "laps", 19, True),
            Bar("skill", "balanced steering skill, held-out", "steering", 0.8, True),
            Bar("seconds", "seconds in all, from recording to report", "seconds", 130),
            Bar("memory", "memory of the largest process, GB", "gigabytes", 3),
        ),
        limit=900,
    ),
    Check(
        "expert",
        lambda inputs: [["-m", "benchmarks.expert", "--tracks=20", "--action_repeat=2"]],
        _expert,
        (Bar("expert", "mean score of the expert that is recorded", "score", 925, True),),
        limit=300,
    ),
    Check(
        "parity",
        lambda inputs: [["-m", "benchmarks.keras_parity", "--sizes", "96x96"]],
        _parity,
        (
            Bar("parity-float32", "Xception against Keras, float32, absolute", "float32", 1e-4),
            Bar("parity-float64", "Xception against Keras, float64, relative", "float64", 1e-9),
        ),
        limit=300,
    ),
    Check(
        "udacity",
        lambda inputs: [
            _train("udacity:pedals", inputs, f"--config.data.path={inputs.recordings['udacity']}"),
            [
                *("-m", "benchmarks.udacity_server", f"--workdir={inputs.folder / 'run'}"),
                f"--recording={inputs.recordings['udacity']}",
            ],
        ],
        _udacity,
        (
            Bar("udacity-skill", "Udacity: balanced steering skill", "steering", 0.3, True),
            Bar("udacity-answers", "Udacity: answers against predictions", "difference", 1e-6),
        ),
        limit=900,
        needs="udacity",
    ),
    Check(
        "donkey",
        lambda inputs: [
            _train("donkey:pedals", inputs, f"--config.data.path={inputs.recordings['donkey']}"),
            [
                *("-m", "benchmarks.donkey_pilot", f"--workdir={inputs.folder / 'run'}"),
                f"--tub={inputs.recordings['donkey']}",
            ],
        ],
        _donkey,
        (
            Bar("donkey-skill", "Donkeycar: balanced steering skill", "steering", 0.3, True),
            Bar("donkey-answer", "Donkeycar: an answer, 95 % of them, ms", "answer", 10),
        ),
        limit=600,
        needs="donkey",
    ),
    Check(
        "tables",
        lambda inputs: [
            ["-m", "benchmarks.tables", f"--recording={inputs.recordings['udacity']}"],
        ],
        _tables,
        (Bar("tables", "another split, fold or label, % of the first prepare", "largest", 5),),
        limit=300,
        needs="udacity",
    ),
    Check(
        "exchanged",
        lambda inputs: [
            [
                *("-m", "pytest", "-q", "--numprocesses=0", "tests/data/test_dataset.py"),
                *("-k", "exchanged or in_the_place or at_opening"),
            ]
        ],
        _passed,
        # One of them makes 30 tries.
        (Bar("exchanged", "tests of exchanged and damaged shards that pass", "passed", 14, True),),
        limit=300,
    ),
    _real_check("udacity", "lake", ratio=1.0, mae=0.28),
    _real_check("donkey", "tub", ratio=0.6, mae=0.25),
    Check(
        "controls",
        lambda inputs: [
            [
                *("-m", "pytest", "-q", "--numprocesses=0"),
                "tests/end_to_end/test_negative_controls.py",
            ]
        ],
        _passed,
        (
            Bar(
                "controls", "tests of shuffled labels and blank images that pass", "passed", 3, True
            ),
        ),
        limit=300,
    ),
    Check(
        "server",
        lambda inputs: [["-m", "benchmarks.udacity_server", "--config=configs/udacity.py"]],
        _server,
        (Bar("server", "PilotNet's answer to the simulator, 95 % of them, ms", "answer", 10),),
        limit=300,
    ),
    Check(
        "server-xception",
        lambda inputs: [["-m", "benchmarks.udacity_server", "--config=configs/xception.py"]],
        _server,
        (Bar("server-xception", "Xception's answer, 95 % of them, ms", "answer", 60),),
        limit=300,
    ),
    Check(
        "diagnostics",
        lambda inputs: [
            ["-m", "benchmarks.diagnostics", "--config=configs/quickstart.py", "--rounds=15"]
        ],
        _diagnostics,
        (Bar("diagnostics", "cost of alarms and gradients, % of the time", "share", 2),),
        limit=300,
    ),
    Check(
        "start-up",
        lambda inputs: [["-m", "benchmarks.start_up"]],
        _start_up,
        (Bar("start-up", "PilotNet, start to first update, cached, CPU s", "cached", 5),),
        limit=400,
    ),
    Check(
        "peers",
        lambda inputs: [
            [
                *("-m", "benchmarks.peers", f"--networks={','.join(_NETWORKS)}"),
                *(f"--peers={','.join(_COMPARED)}", "--rounds=7", "--device=cpu", *inputs.pythons),
                # Elsewhere than usual, so that it compares with no earlier run.
                *(f"--output={inputs.folder}", f"--json={inputs.folder / 'measured.json'}"),
            ]
        ],
        _peers,
        (
            Bar("pilotnet-speed", "PilotNet's step, speed of Keras-TF's", "pilotnet", 0.63, True),
            Bar("xception-speed", "Xception's step, speed of Keras-TF's", "xception", 0.76, True),
            Bar("quickstart-speed", "quickstart's step, the same", "quickstart", 0.80, True),
            Bar("quickstart-native", "the same with `native`", "quickstart-native", 0.80, True),
            Bar("xception-start", "Xception, start to first update, s", "xception-start", 30),
        ),
        limit=900,
    ),
)
