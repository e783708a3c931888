"""What do alarms and the comparison of gradients cost, as a share of the time of training?

Times a train step, the comparison of the heads' gradients, and what the host does with the metrics
of a window for alarms, in turn and round after round, on random batches; the share is what they
cost at their default intervals.

Command:
  python -m benchmarks.diagnostics --config=configs/quickstart.py
  python -m benchmarks.diagnostics --config=configs/xception.py --rounds=5
"""

import argparse
import json
import platform
import runpy
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from benchmarks.step import random_batch
from configs import default
from jaxdrive import durations, workdir
from jaxdrive.training import alarm, metrics
from jaxdrive.training.gradients import make_gradients
from jaxdrive.training.parts import make_init, make_network, spread_step, supervise_of


def measurements(config: Any) -> Mapping[str, Callable[[], float]]:
    """Functions that do one thing and return its seconds: "step", "gradients" and "alarms"."""
    fields = durations.resolve(config.to_dict(), 1000.0)
    network = make_network(fields, (config.data.height, config.data.width, 3))
    step = spread_step(fields, network)
    gradients = make_gradients(network.model, network.heads, supervise=supervise_of(fields))
    if gradients is None:
        raise SystemExit("this network has no common layers to compare gradients at")
    compared = network.partition.spread_measure(gradients)
    batch = network.partition.put_batch(random_batch(config, config.batch_size))
    state = network.partition.put_state(make_init(fields, network)())
    window: list[Any] = []

    def one_step() -> float:
        nonlocal state
        started = time.perf_counter()
        state, seen = step(state, batch)
        jax.block_until_ready(state)
        window[:] = [jax.device_get(seen)["heads"]] * default.get_config().log_every
        return time.perf_counter() - started

    def one_comparison() -> float:
        started = time.perf_counter()
        jax.device_get(compared(state, batch))
        return time.perf_counter() - started

    def one_watch() -> float:
        started = time.perf_counter()
        line = {}
        for name in network.heads:
            line[f"train/{name}/spread"] = metrics.spread([seen[name] for seen in window])
            line[f"train/{name}/skill"] = 1.0
        alarm.watch({}, 0, len(window), line, network.heads, fields["alarm"])
        return time.perf_counter() - started

    return {"step": one_step, "gradients": one_comparison, "alarms": one_watch}


def main() -> None:
    """Measures and prints a table, and a line of JSON for `benchmarks/results/`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="configuration file")
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each")
    arguments = parser.parse_args()
    config = runpy.run_path(arguments.config)["get_config"]()
    things = measurements(config)
    for thing in things.values():
        thing()  # Compiles.
    seconds: dict[str, list[float]] = {name: [] for name in things}
    for _ in range(arguments.rounds):
        for name, thing in things.items():
            seconds[name].append(thing())
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    every = default.get_config()
    share = (
        medians["gradients"] / every.gradients_every + medians["alarms"] / every.log_every
    ) / medians["step"]
    for name, value in medians.items():
        print(f"{name:10} {value * 1e3:10.2f} ms")
    print(f"{'share':10} {share:10.2%} of the time of training")
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.processor() or platform.machine()}, {jax.device_count()} devices",
        "device": jax.devices()[0].device_kind,
        "versions": workdir.versions(),
        "config": arguments.config,
        "milliseconds": {name: value * 1e3 for name, value in medians.items()},
        "share": share,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
