"""How even does each way of balancing make the labels of a dataset?

Prints the evenness of every label (the entropy of its bins over the largest possible, 1 = every bin
that has frames is drawn alike): as recorded, in what each head learns from, and in each head's own
batches; and how often the frame that is drawn most is drawn in a pass.

Command:
  python -m benchmarks.balance --config=configs/few_laps.py
  python -m benchmarks.balance --config=configs/udacity.py --path=DIR
"""

import argparse
import runpy
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdrive.data.balance import MODES, Balance, make_plans, resolve_supervise
from jaxdrive.data.balance_report import report
from jaxdrive.data.dataset import Dataset
from jaxdrive.data.label_functions import learned_labels
from jaxdrive.data.prepare import prepare
from jaxdrive.heads import heads_from_config


def measure(config: Mapping[str, Any], dataset: Dataset, mode: str) -> list[str]:
    """The cells of one row: mode, what is learned from, own batches, most frequent frame."""
    heads, ids = heads_from_config(config["heads"]), dataset.ids("train")
    about = (heads, learned_labels(heads, dataset), dataset.cameras, ids)
    plans = make_plans(*about, balance=Balance(mode), seed=0, batch_size=config["batch_size"])
    supervise = resolve_supervise(mode, "auto")
    found = report(*about, plans, balance=Balance(mode), supervise=supervise)["heads"]
    most = max(plan.shares(len(dataset.splits)).max() for plan in plans.values()) * len(ids)
    learned = ", ".join(_number(found[name]["evenness"]) for name in heads)
    others = [
        ", ".join(f"{other} {_number(value)}" for other, value in part["batch_evenness"].items())
        for part in found.values()
    ]
    return [mode, learned, *others, f"{most:.0f}"]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def main() -> None:
    """Prints the table of one dataset."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="configuration file")
    parser.add_argument("--path", default="", help="folder of the recordings, for udacity")
    parser.add_argument("--dir", default="datasets", help="where prepared datasets are kept")
    arguments = parser.parse_args()
    config = runpy.run_path(arguments.config)["get_config"]().to_dict()
    config["data"] |= {"path": arguments.path, "dir": arguments.dir}
    dataset = prepare(config["data"])
    heads = list(heads_from_config(config["heads"]))
    columns = ["balance", f"learned from: {', '.join(heads)}"]
    columns += [f"in batches of {name}" for name in heads] + ["most, times a pass"]
    rows = [measure(config, dataset, mode) for mode in MODES]
    table = np.array([columns, ["---"] * len(columns), *rows])
    print("\n".join("| " + " | ".join(row) + " |" for row in table))


if __name__ == "__main__":
    main()
