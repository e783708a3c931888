"""How fast is one train step: one pass or separate, shard_map or pmap?

Times the quickstart's network on random batches, the forms in turn and round after round, so that
a machine whose speed drifts treats all alike; prints the median of each and its ratio to the first.

Command:
  python -m benchmarks.step --rounds=15
"""

import argparse
import json
import platform
import statistics
import time
from typing import Any

from jaxdrive import allocator

# As launch.py does it, before JAX is imported and starts threads.
allocator.keep_freed_memory()

import jax  # noqa: E402
import numpy as np  # noqa: E402

from configs import quickstart  # noqa: E402
from jaxdrive import durations, workdir  # noqa: E402
from jaxdrive.heads import heads_from_config  # noqa: E402
from jaxdrive.training.parts import make_init, make_network, spread_step  # noqa: E402

FORMS = [
    (partition, passes) for partition in ("shard_map", "pmap") for passes in ("one", "separate")
]


def random_batch(config: Any, batch_size: int) -> dict[str, Any]:
    """A batch of the shapes that the loader gives."""
    generator = np.random.default_rng(0)
    shape = (batch_size, config.data.height, config.data.width, 3)
    return {
        name: {
            "inputs": {
                "image": generator.integers(0, 256, shape, np.uint8),
                **{scalar: generator.random(batch_size, np.float32) for scalar in config.scalars},
            },
            "labels": {name: generator.random(batch_size, np.float32)},
            "record": np.arange(batch_size, dtype=np.int32),
            "mask": np.ones(batch_size, bool),
        }
        for name in heads_from_config(config.heads.to_dict())
    }


def prepared(partition: str, passes: str, batch_size: int) -> Any:
    """A function that makes `steps` updates and waits for the last."""
    config = quickstart.get_config()
    config.partition = partition
    config.passes = passes
    config.batch_size = batch_size
    fields = durations.resolve(config.to_dict(), 1000.0)
    network = make_network(fields, (config.data.height, config.data.width, 3))
    step = spread_step(fields, network)
    batch = random_batch(config, batch_size)
    state = network.partition.put_state(make_init(fields, network)())

    def run(steps: int) -> float:
        nonlocal state
        started = time.perf_counter()
        for _ in range(steps):
            state, _ = step(state, network.partition.put_batch(batch))
        jax.block_until_ready(state)
        return (time.perf_counter() - started) / steps

    return run


def main() -> None:
    """Measures and prints a table, and a line of JSON for `benchmarks/results/`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=int, default=64, help="rows of each head")
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each form")
    parser.add_argument("--steps", type=int, default=5, help="steps of one measurement")
    arguments = parser.parse_args()
    runs = {form: prepared(*form, arguments.batch_size) for form in FORMS}
    for run in runs.values():
        run(2)
    times: dict[Any, list[float]] = {form: [] for form in FORMS}
    for _ in range(arguments.rounds):
        for form, run in runs.items():
            times[form].append(run(arguments.steps))
    medians = {form: statistics.median(values) for form, values in times.items()}
    first = medians[FORMS[0]]
    print(f"{'partition':10} {'passes':10} {'ms a step':>10} {'images/s':>10} {'ratio':>7}")
    for (partition, passes), seconds in medians.items():
        form, speed = f"{partition:10} {passes:10}", 3 * arguments.batch_size / seconds
        print(f"{form} {seconds * 1e3:10.1f} {speed:10,.0f} {seconds / first:7.2f}")
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.processor() or platform.machine()}, {jax.device_count()} devices",
        "device": jax.devices()[0].device_kind,
        "versions": workdir.versions(),
        "batch_size": arguments.batch_size,
        "milliseconds": {"/".join(form): seconds * 1e3 for form, seconds in medians.items()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
