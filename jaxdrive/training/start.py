"""Starts a run or goes on with one: builds the parts, restores a checkpoint, runs the loop.

Says at the start what the run has: devices, free memory, data, parameters.
"""

import contextlib
import dataclasses
import gc
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp
from clu import parameter_overview
from etils import epath

from jaxdrive import workdir as workdirs
from jaxdrive.data.balance import balance_of
from jaxdrive.heads import learning_text
from jaxdrive.logs import logger, plural
from jaxdrive.models.weights import Chosen
from jaxdrive.training import checkpoint, loop, writers
from jaxdrive.training.initial import with_initial
from jaxdrive.training.memory import free_memory, out_of_memory_told
from jaxdrive.training.parts import Trainer, computation, resolve_passes, supervise_of
from jaxdrive.training.profiler import Profiler
from jaxdrive.training.progress import Progress
from jaxdrive.training.signals import StopRequest
from jaxdrive.training.state import TrainState


def train(
    trainer: Trainer,
    config: Mapping[str, Any],
    workdir: epath.Path,
    *,
    meta: Mapping[str, Any],
    changes: Sequence[str],
    initial: Chosen | None,
    traced: range,
) -> str | None:
    """Trains until `config.num_steps`, from the newest checkpoint in `workdir` on.

    Args:
      trainer: Of the configuration.
      config: Of the run, with its durations in steps.
      workdir: Its folder; checkpoints, metrics.jsonl and tensorboard/ go there.
      meta: What every checkpoint says of its run: "config", "versions", "dataset_fingerprint";
        how they are computed, and the shares of heads' bins, are added.
      changes: What has changed in the settings since the newest checkpoint, for TensorBoard.
      initial: Weights that a run without a checkpoint starts from; None draws them at random.
      traced: The updates to trace, from `profiler.steps_to_trace`.

    Returns:
      Why it stopped early; None where it did not.

    Raises:
      StoppedError: By a signal, after a checkpoint.
      UserError: Settings or checkpoints do not fit.
    """
    announce(trainer, config)
    with (
        checkpoint.open_manager(workdir, keep_every=config["keep_every"]) as manager,
        StopRequest() as stop,
        # Other processes would write the same parts under the same names.
        Profiler(traced if jax.process_index() == 0 else range(0), workdir) as profiler,
    ):
        state, progress = _first_state(trainer, manager, initial)
        step = int(state.step)
        writer = writers.silent_writer()
        if jax.process_index() == 0:
            heads = list(trainer.network.heads)
            writer = writers.make_writer(
                workdir, heads=heads, num_steps=config["num_steps"], resumed_step=step
            )
        try:
            if changes:
                writer.write_texts(step, {"changes": "  \n".join(changes)})
            with _out_of_memory_told(trainer, config):
                return loop.run(
                    trainer,
                    config,
                    state,
                    manager=manager,
                    writer=writer,
                    meta={
                        **meta,
                        "computation": computation(trainer.network.platform),
                        "bin_shares": {
                            name: dataclasses.asdict(head.shares)
                            for name, head in trainer.network.heads.items()
                            if head.shares is not None
                        },
                    },
                    progress=progress,
                    between=loop.BetweenUpdates(stop, profiler),
                )
        finally:
            gc.unfreeze()  # What the loop froze.
            writer.close()


def progress_of(
    config: Mapping[str, Any], workdir: epath.Path, data_fingerprints: Sequence[str]
) -> tuple[int, dict[str, tuple[Any, Any]]]:
    """The step that a run in `workdir` has reached, 0 for a new one, and what has changed since.

    Raises:
      UserError: The run is of another network or of other data.
    """
    if not (workdir / checkpoint.FOLDER).exists():
        return 0, {}
    with checkpoint.open_manager(workdir, read_only=True) as manager:
        meta = checkpoint.read_meta(manager)
        last = manager.latest_step() or 0
    if meta is None:
        return last, {}
    return last, workdirs.check_same_run(workdir, config, data_fingerprints, meta)


def _first_state(
    trainer: Trainer, manager: ocp.CheckpointManager, initial: Chosen | None
) -> tuple[TrainState, Progress]:
    """The state to start from, on the host, so that the devices hold no second one."""
    restored = checkpoint.restore_latest(
        manager, jax.eval_shape(trainer.init), trainer.network.partition.state_sharding
    )
    if restored is None:
        state = jax.device_get(trainer.init())
        return (with_initial(state, initial) if initial else state), Progress()
    logger.info("Going on from the checkpoint of step %d", int(restored.step))
    meta = checkpoint.read_meta(manager) or {}
    if meta.get("computation") != computation(trainer.network.platform):
        logger.info(
            "The checkpoint was computed on another platform, with other forms of operations, or"
            " native convolutions were used in one case alone (config.native): from here on numbers"
            " agree within rounding, not to the bit"
        )
    return jax.device_get(restored), Progress(**meta.get("progress", {}))


def _out_of_memory_told(
    trainer: Trainer, config: Mapping[str, Any]
) -> contextlib.AbstractContextManager[None]:
    height, width, _ = trainer.network.image_shape
    heads, batch_size = len(trainer.plans), config["batch_size"]
    one_pass = resolve_passes(config["passes"], trainer.network.platform.name) == "one"
    return out_of_memory_told(
        what=f"training with config.batch_size={batch_size} for each of {heads} heads and pictures"
        f" of {height} x {width}, on {jax.device_count()} {jax.devices()[0].device_kind}",
        remedy="Lower --config.batch_size"
        + (", or take --config.passes=separate," if one_pass else "")
        + " or prepare smaller pictures (config.data.height, width)",
    )


def announce(trainer: Trainer, config: Mapping[str, Any]) -> None:
    """Says what the run has to work with."""
    dataset = trainer.examples.dataset
    devices = jax.devices()
    logger.info(
        "%d %s device%s in %d process%s, %s",
        len(devices),
        devices[0].device_kind,
        "s" * (len(devices) > 1),
        jax.process_count(),
        "es" * (jax.process_count() > 1),
        free_memory(),
    )
    warning = idle_gpu_warning(
        jax.default_backend(),
        has_gpu=shutil.which("nvidia-smi") is not None,
        chosen="JAX_PLATFORMS" in os.environ,
    )
    if warning:
        logger.warning("%s", warning)
    logger.info("Frames: %s (%.0f MB in %s)", dataset.counts(), dataset.size / 1e6, dataset.path)
    logger.info(
        "Each step: %s x %d images, balance %s, views %s, supervise %s, %s, %s",
        plural(len(trainer.plans), "head"),
        config["batch_size"],
        balance_of(config),
        config["views"],
        supervise_of(config),
        config["partition"],
        "one pass"
        if resolve_passes(config["passes"], trainer.network.platform.name) == "one"
        else "separate passes",
    )
    learned = trainer.network.heads.items()
    logger.info("Minimised: %s", "; ".join(f"{n}: {learning_text(head)}" for n, head in learned))
    native = computation(trainer.network.platform)["native"]
    logger.info(
        "Network: %s, %s parameters%s; its layers stand in model.txt, drawn in model.png",
        config["model"]["backbone"],
        f"{parameter_overview.count_parameters(trainer.network.template.params):,}",
        f", float32 convolutions by {native}" if native else "",
    )


def idle_gpu_warning(backend: str, *, has_gpu: bool, chosen: bool) -> str | None:
    """What to say when a GPU lies idle without the user's will; None where all is well."""
    if backend != "cpu" or not has_gpu or chosen:
        return None
    return (
        "This machine has an NVIDIA GPU that JAX does not use: install its support with"
        " pip install -e '.[cuda]' (it needs a driver for CUDA 13)"
    )
