"""How fast is a train step of Xception: which convolutions, which dtype, one pass or separate?

Times the network of configs/xception.py on random batches, the forms in turn and round after round,
so that a machine whose speed drifts treats all alike; prints for each what compiling it takes, its
memory, the median of a step, and its ratio to the first. Compiling is in seconds of the processor,
which other work on a shared machine does not lengthen.

Command:
  python -m benchmarks.xception --rounds=5
"""

import argparse
import dataclasses
import json
import platform
import statistics
import time
from typing import Any

from jaxdrive import allocator

# As launch.py does it, before JAX is imported and starts threads.
allocator.keep_freed_memory()

import jax  # noqa: E402

from benchmarks.step import random_batch  # noqa: E402
from configs import xception  # noqa: E402
from jaxdrive import durations, workdir  # noqa: E402
from jaxdrive.training.parts import make_init, make_network, spread_step  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Form:
    """One way to compute the same step.

    Attributes:
      platform: Whose forms of operations it takes, see `jaxdrive/models/formulations.py`; that of
        a TPU is XLA's own.
      dtype: What the backbone computes in.
      passes: See `jaxdrive/training/step.py`.
    """

    platform: str
    dtype: str
    passes: str

    def __str__(self) -> str:
        return f"{self.platform:9} {self.dtype:9} {self.passes:9}"


FORMS = [
    Form("tpu", "float32", "one"),
    Form("cpu", "float32", "one"),
    Form("cpu", "float32", "separate"),
    Form("cpu", "bfloat16", "one"),
]


class Compiled:
    """A form, compiled: makes updates one after the other.

    Attributes:
      tracing: Seconds of the processor until XLA has its program.
      compiling: Seconds of the processor, over all cores, that XLA needs to compile it.
      megabytes: Memory of a step beside state and batch.
    """

    def __init__(self, form: Form, batch_size: int) -> None:
        config = xception.get_config()
        config.model.compute_dtype = form.dtype
        config.passes = form.passes
        config.batch_size = batch_size
        fields = durations.resolve(config.to_dict(), 1000.0)
        shape = (config.data.height, config.data.width, 3)
        network = make_network(fields, shape, platform=form.platform)
        step = spread_step(fields, network)
        self._batch = network.partition.put_batch(random_batch(config, batch_size))
        self._state = network.partition.put_state(make_init(fields, network)())
        started = time.process_time()
        lowered = step.lower(self._state, self._batch)
        self.tracing = time.process_time() - started
        self._step = lowered.compile()
        self.compiling = time.process_time() - started - self.tracing
        self.megabytes = self._step.memory_analysis().temp_size_in_bytes / 1e6

    def run(self) -> float:
        """Makes one update; returns its seconds."""
        started = time.perf_counter()
        self._state, _ = self._step(self._state, self._batch)
        jax.block_until_ready(self._state)
        return time.perf_counter() - started


def main() -> None:
    """Measures and prints a table, and a line of JSON for `benchmarks/results/`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=int, default=8, help="rows of each head")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each form")
    arguments = parser.parse_args()
    compiled = {form: Compiled(form, arguments.batch_size) for form in FORMS}
    for one in compiled.values():
        one.run()
    times: dict[Form, list[float]] = {form: [] for form in FORMS}
    for _ in range(arguments.rounds):
        for form, one in compiled.items():
            times[form].append(one.run())
    medians = {form: statistics.median(values) for form, values in times.items()}
    first = medians[FORMS[0]]
    print(
        f"{'forms':9} {'dtype':9} {'passes':9} {'trace s':>8} {'compile s':>9} {'MB':>7}"
        f" {'s a step':>9} {'images/s':>9} {'ratio':>6}"
    )
    rows: list[dict[str, Any]] = []
    for form, seconds in medians.items():
        one, speed = compiled[form], 3 * arguments.batch_size / seconds
        print(
            f"{form} {one.tracing:8.1f} {one.compiling:9.1f} {one.megabytes:7,.0f}"
            f" {seconds:9.2f} {speed:9.1f} {seconds / first:6.2f}"
        )
        rows.append(
            dataclasses.asdict(form)
            | {"tracing": one.tracing, "compiling": one.compiling, "seconds": times[form]}
        )
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.processor() or platform.machine()}, {jax.device_count()} devices",
        "device": jax.devices()[0].device_kind,
        "versions": workdir.versions(),
        "batch_size": arguments.batch_size,
        "forms": rows,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
