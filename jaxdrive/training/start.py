"""Starts a run or goes on with one: builds the parts, restores a checkpoint, runs the loop.

Says at the start what the run has: devices, free memory, data, parameters.
"""

import shutil
from collections.abc import Mapping
from typing import Any

import jax
import psutil
from clu import parameter_overview
from etils import epath

from jaxdrive.data.dataset import Dataset
from jaxdrive.data.split import SPLITS
from jaxdrive.errors import UserError
from jaxdrive.logs import logger
from jaxdrive.training import checkpoint, loop, writers
from jaxdrive.training.parts import Trainer, make_trainer, resolve_passes
from jaxdrive.training.signals import StopRequest


def train(
    config: Mapping[str, Any], workdir: epath.Path, dataset: Dataset, meta: Mapping[str, Any]
) -> None:
    """Trains until `config.num_steps`, from the newest checkpoint in `workdir` on.

    Args:
      config: Of the run.
      workdir: Its folder; checkpoints, metrics.jsonl and tensorboard/ go there.
      dataset: To train on.
      meta: What every checkpoint says of its run; "config" in it is what `evaluate` starts from.

    Raises:
      StoppedError: By a signal, after a checkpoint.
      UserError: Settings, data or checkpoints do not fit.
    """
    if config["eval_every"] and not len(dataset.ids("validation")):
        raise UserError(
            f"the dataset in {dataset.path} has no validation frames: record some"
            " (config.data.validation_episodes), or switch measuring off with --config.eval_every=0"
        )
    trainer = make_trainer(config, dataset)
    announce(trainer, config, dataset)
    with (
        checkpoint.open_manager(workdir, keep_every=config["keep_every"]) as manager,
        StopRequest() as stop,
    ):
        network = trainer.network
        restored = checkpoint.restore_latest(
            manager, network.template, network.partition.state_sharding
        )
        state = network.init() if restored is None else restored
        step = int(state.step)
        if restored is not None:
            logger.info("Going on from the checkpoint of step %d", step)
        heads = list(network.heads)
        writer = writers.silent_writer()
        if jax.process_index() == 0:
            writer = writers.make_writer(
                workdir, heads=heads, num_steps=config["num_steps"], resumed_step=step
            )
        try:
            loop.run(trainer, config, state, manager=manager, writer=writer, meta=meta, stop=stop)
        finally:
            writer.close()


def announce(trainer: Trainer, config: Mapping[str, Any], dataset: Dataset) -> None:
    """Says what the run has to work with."""
    devices = jax.devices()
    logger.info(
        "%d %s device%s in %d process%s, %s",
        len(devices),
        devices[0].device_kind,
        "s" * (len(devices) > 1),
        jax.process_count(),
        "es" * (jax.process_count() > 1),
        _free_memory(),
    )
    warning = idle_gpu_warning(
        jax.default_backend(), has_gpu=shutil.which("nvidia-smi") is not None
    )
    if warning:
        logger.warning("%s", warning)
    frames = ", ".join(f"{len(dataset.ids(split)):,} for {split}" for split in SPLITS)
    size = sum(shard["bytes"] for shard in dataset.manifest["shards"])
    logger.info("Frames: %s (%.0f MB in %s)", frames, size / 1e6, dataset.path)
    logger.info(
        "Each step: %d heads x %d images, balance %s, supervise %s, %s, %s",
        len(trainer.plans),
        config["batch_size"],
        config["balance"],
        config["supervise"],
        config["partition"],
        "one pass" if resolve_passes(config["passes"]) == "one" else "separate passes",
    )
    logger.info(
        "%s",
        parameter_overview.get_parameter_overview(
            trainer.network.template.params, include_stats=False
        ),
    )


def _free_memory() -> str:
    parts = [f"{psutil.virtual_memory().available / 1e9:.1f} GB of memory free"]
    for device in jax.local_devices():
        statistics = device.memory_stats() or {}
        if "bytes_limit" in statistics:
            free = statistics["bytes_limit"] - statistics["bytes_in_use"]
            parts.append(f"{free / 1e9:.1f} GB on {device}")
    return ", ".join(parts)


def idle_gpu_warning(backend: str, *, has_gpu: bool) -> str | None:
    """What to say when a GPU lies idle; None where all is well."""
    if backend != "cpu" or not has_gpu:
        return None
    return (
        "This machine has an NVIDIA GPU that JAX does not use: install its support with"
        " pip install -e '.[cuda]'"
    )
