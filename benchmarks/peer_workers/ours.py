"""jaxdrive's own train step, built by the functions that a run uses.

Command (started by benchmarks/peers.py):
  python -m benchmarks.peer_workers.ours WORKLOAD jax|augmented|native

`jax` and `augmented` compute with JAX alone, `native` with the extra of that name.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

from jaxdrive import allocator

# As launch.py does it, before JAX is imported and starts threads.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
allocator.keep_freed_memory()

import jax  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.peer_workers.configured import NETWORKS  # noqa: E402
from benchmarks.peer_workers.protocol import Work, serve  # noqa: E402
from benchmarks.peer_workers.workload import Workload, random_batches, total  # noqa: E402
from configs import default  # noqa: E402
from jaxdrive import durations  # noqa: E402
from jaxdrive.heads import Head  # noqa: E402
from jaxdrive.native import library  # noqa: E402
from jaxdrive.native.build import LIBRARY_PACKAGE  # noqa: E402
from jaxdrive.training.parts import make_init, make_network, spread_step  # noqa: E402


def loader_batch(workload: Workload, heads: dict[str, Head]) -> dict[str, Any]:
    """The random batches as `jaxdrive/data/loader.py` gives them."""
    return {
        head: {
            "inputs": {
                "image": batch.images,
                **{name: batch.scalars[:, k] for k, name in enumerate(workload.scalars)},
            },
            "labels": {head: batch.labels[:, 0]},
            "mirrored": {head: heads[head].mirror * batch.labels[:, 0]},
            "record": np.arange(workload.rows, dtype=np.int32),
            "mask": np.ones(workload.rows, bool),
        }
        for head, batch in random_batches(workload).items()
    }


def make(arguments: Sequence[str]) -> Work:
    """A run's step, which also computes metrics and skips updates that are not finite."""
    text, form = arguments
    workload = Workload.from_json(text)
    config = NETWORKS[workload.name].config()
    config.native = "auto" if form == "native" else "off"
    if form == "native" and library.load() is None:
        sys.exit("the extra `native` is not installed")
    # The peers do no augmentation.
    if form != "augmented":
        config.augment = default.get_config().augment
    fields = durations.resolve(config.to_dict(), 1000.0)
    network = make_network(fields, (workload.height, workload.width, 3))
    step = spread_step(fields, network)
    batch = loader_batch(workload, dict(network.heads))
    state = network.partition.put_state(make_init(fields, network)())
    sizes = [leaf.size for leaf in jax.tree.leaves((state.params, state.batch_stats))]

    def update() -> float:
        nonlocal state
        state, metrics = step(state, network.partition.put_batch(batch))
        sums = {head: (value.loss, value.count) for head, value in metrics["heads"].items()}
        return total({head: loss / count for head, (loss, count) in jax.device_get(sums).items()})

    device = jax.devices()[0]
    return Work(
        update=update,
        finish=lambda: jax.block_until_ready(state),
        device="cpu" if device.platform == "cpu" else device.device_kind,
        parameters=sum(sizes),
    )


if __name__ == "__main__":
    native = [LIBRARY_PACKAGE] if sys.argv[-1] == "native" else []
    serve(make, ["jax", "jaxlib", "flax", "optax", *native])
