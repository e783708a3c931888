"""Who is measured at what: the workloads, and the peers of each."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peer_workers import loader_data
from benchmarks.peer_workers.configured import NETWORKS, workload_of
from benchmarks.peer_workers.rounds import Peer
from jaxdrive.training.augment import active

LIBRARIES = ("jaxdrive", "jax", "tensorflow", "torch")
LOADER = "loader"
# Peers that need no extra: that one of them cannot be measured is a failure.
REQUIRED = ("ours", "ours-augmented", "ours-loader")
# Records of the loader's dataset, and batches after which the others begin again.
_RECORDS, _BATCHES = 4096, 1024

_KERAS_TF, _KERAS_TORCH = "keras_tensorflow", "keras_torch"
# The first peer is ours: the others have to have its parameters and device.
STEP_PEERS = (
    Peer("ours", "ours", "jaxdrive", "ours", ("jax",)),
    Peer("ours-native", "ours, with the extra `native`", "jaxdrive", "ours", ("native",)),
    Peer("ours-augmented", "ours, with its augmentation", "jaxdrive", "ours", ("augmented",)),
    Peer("keras-tf", "Keras on TensorFlow", "tensorflow", _KERAS_TF, ("graph",)),
    Peer("keras-tf-xla", "Keras on TensorFlow, XLA", "tensorflow", _KERAS_TF, ("xla",)),
    Peer("keras-jax", "Keras on JAX", "jax", "keras_jax"),
    Peer("keras-torch", "Keras on PyTorch", "torch", _KERAS_TORCH, ("eager",)),
    Peer("keras-torch-compile", "Keras on PyTorch, compiled", "torch", _KERAS_TORCH, ("compile",)),
    Peer("torch", "PyTorch channels_last", "torch", "torch_step", ("eager", "separate")),
    Peer(
        "torch-compile",
        "PyTorch channels_last, compiled",
        "torch",
        "torch_step",
        ("compile", "separate"),
    ),
    Peer(
        "torch-compile-one",
        "PyTorch channels_last, compiled, one pass",
        "torch",
        "torch_step",
        ("compile", "one"),
    ),
)
LOADER_PEERS = (
    Peer("ours-loader", "ours", "jaxdrive", "loader_ours"),
    Peer("tf.data-memory", "tf.data, in memory", "tensorflow", "loader_tensorflow", ("memory",)),
    Peer("tf.data-records", "tf.data, TFRecord", "tensorflow", "loader_tensorflow", ("records",)),
    Peer("dataloader", "DataLoader, mapped file", "torch", "loader_torch", ("main",)),
    Peer("dataloader-workers", "DataLoader, processes", "torch", "loader_torch", ("workers",)),
)


@dataclasses.dataclass(frozen=True)
class Task:
    """A workload with its peers.

    Attributes:
      name: Of the workload.
      text: What it is, for people.
      images: Images of an update.
      argument: What tells a worker which workload it is.
      peers: Who does it.
    """

    name: str
    text: str
    images: int
    argument: str
    peers: Sequence[Peer]


def names(*, with_gpu: bool) -> list[str]:
    """The workloads that a machine can take."""
    networks = [name for name, network in NETWORKS.items() if with_gpu or not network.gpu_only]
    return [*networks, LOADER]


def task(name: str, folder: Path) -> Task:
    """The task of a workload; the loader's images are written to the folder."""
    return _loader_task(folder) if name == LOADER else _network_task(name)


def _network_task(name: str) -> Task:
    workload = workload_of(name)
    left_out = set()
    if not active(NETWORKS[name].config().augment.to_dict()):
        left_out.add("ours-augmented")
    if workload.blocks:
        # Batch normalisation would see the batches of all heads together: other numbers.
        left_out.add("torch-compile-one")
    return Task(
        name=name,
        text=(
            f"{name}: images of {workload.height} x {workload.width}, {len(workload.heads)} heads x"
            f" {workload.rows} rows, {workload.dtype}"
        ),
        images=workload.images,
        argument=workload.to_json(),
        peers=[peer for peer in STEP_PEERS if peer.name not in left_out],
    )


def _loader_task(folder: Path) -> Task:
    loader_data.write(folder, records=_RECORDS, batches=_BATCHES)
    config = loader_data.config()
    heads, rows = len(config.heads), config.batch_size
    return Task(
        name=LOADER,
        text=(
            f"{LOADER}: batches of {heads} heads x {rows} rows from {_RECORDS:,} decoded images of"
            f" {config.data.height} x {config.data.width}"
        ),
        images=heads * rows,
        argument=str(folder),
        peers=LOADER_PEERS,
    )
