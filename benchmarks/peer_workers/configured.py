"""Our configurations as workloads for the peers. Runs in our own environment alone."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.peer_workers.workload import Convolution, Workload
from configs import quickstart, udacity, xception
from jaxdrive.models.xception import BLOCKS

# As published; the parameter counts of all peers are compared with ours.
PILOTNET = tuple(
    Convolution(*layer) for layer in ((24, 5, 2), (36, 5, 2), (48, 5, 2), (64, 3, 1), (64, 3, 1))
)


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that is compared.

    Attributes:
      config: Makes its configuration.
      gpu_only: Whether a CPU would take too long.
    """

    config: Callable[[], Any]
    gpu_only: bool = False


def _xception_299() -> Any:
    """Xception at its published size, with a batch that fills a GPU."""
    config = xception.get_config()
    config.data.height = config.data.width = 299
    config.batch_size = 32
    config.model.compute_dtype = "bfloat16"
    return config


NETWORKS: Mapping[str, Network] = {
    "pilotnet": Network(functools.partial(udacity.get_config, "pedals")),
    "xception": Network(xception.get_config),
    "quickstart": Network(quickstart.get_config),
    "xception-299": Network(_xception_299, gpu_only=True),
}


def workload_of(name: str) -> Workload:
    """The workload of one of `NETWORKS`."""
    config = NETWORKS[name].config()
    model = config.model
    convolutions: tuple[Convolution, ...] = ()
    if model.backbone == "pilotnet":
        convolutions = PILOTNET
    elif model.backbone == "small":
        convolutions = tuple(
            Convolution(channels, 3 if index else 5, 2)
            for index, channels in enumerate(model.channels)
        )
    return Workload(
        name=name,
        height=config.data.height,
        width=config.data.width,
        rows=config.batch_size,
        heads=tuple(config.heads),
        scalars=tuple(sorted(config.scalars)),
        convolutions=convolutions,
        padding="valid" if model.backbone == "pilotnet" else "same",
        blocks={} if convolutions else BLOCKS,
        common=tuple(model.common),
        head=tuple(model.head),
        momentum=model.batch_norm.momentum,
        epsilon=model.batch_norm.epsilon,
        learning_rate=config.optim.learning_rate,
        dtype=model.compute_dtype,
    )
