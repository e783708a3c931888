"""The weights that `config.init_from` names for a new run: read, fitted to its network, told.

The optimiser starts afresh all the same. A run that goes on from a checkpoint of its own needs none
of this.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath

from jaxdrive.errors import UserError
from jaxdrive.logs import logger
from jaxdrive.models import weights
from jaxdrive.training import checkpoint
from jaxdrive.training.parts import Network
from jaxdrive.training.state import TrainState


def read_initial(config: Mapping[str, Any], network: Network) -> weights.Chosen | None:
    """What a run starts from; None where its configuration names nothing.

    Args:
      config: Of the run.
      network: What it trains.

    Raises:
      UserError: The weights cannot be read, or are of another network.
    """
    if not config["init_from"]:
        return None
    path = epath.Path(config["init_from"])
    where = str(path)
    if not path.exists():
        raise UserError(f"config.init_from={where}: there is no such file or folder")
    if path.is_dir():
        step, found = _of_run(path, network)
        where = f"checkpoint {step} of {path}"
    elif config["model"]["backbone"] != "xception":
        raise UserError(
            f"config.init_from={where}: files of Keras are read for config.model.backbone="
            f"'xception', not {config['model']['backbone']!r}; the folder of a run fits any"
        )
    else:
        found = weights.read_keras(path)
    template = network.template
    wanted = {
        name: leaf.shape
        for name, leaf in weights.names_of(template.params, template.batch_stats).items()
    }
    chosen = weights.choose(found, wanted, part=config["init_part"], where=where)
    logger.info("%s", "\n".join(weights.describe(chosen)))
    return chosen


def _of_run(workdir: epath.Path, network: Network) -> tuple[int, dict[str, np.ndarray]]:
    """The step of a run's best checkpoint, and its weights by name."""
    if not (workdir / checkpoint.FOLDER).exists():
        raise UserError(
            f"config.init_from={workdir} is a folder without checkpoints: name the --workdir of a"
            " run that was trained, or a file that Keras saved"
        )
    with checkpoint.open_manager(workdir, read_only=True) as manager:
        step = checkpoint.choose_step(manager, None)
        sharding = network.partition.state_sharding
        variables = jax.device_get(checkpoint.restore_any_model(manager, step, sharding))
    return step, weights.names_of(*variables)


def with_initial(state: TrainState, chosen: weights.Chosen) -> TrainState:
    """A fresh state, on the host, with what was chosen in place."""
    return dataclasses.replace(
        state,
        params=weights.place(chosen.loaded, state.params),
        batch_stats=weights.place(chosen.loaded, state.batch_stats),
    )
