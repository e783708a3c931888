"""The weights that `config.init_from` names for a new run: read, fitted to its network, told.

The optimiser starts afresh all the same. A run that goes on from a checkpoint of its own needs none
of this.
"""

import dataclasses
import json
from collections.abc import Collection, Iterator, Mapping
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

# Fields of a head that say what the numbers mean which it puts out.
_MEANING = ("label", "kind", "scale", "low", "high", "bins")


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
    heads: Mapping[str, Any] = {}
    if path.is_dir():
        step, found, heads = _of_run(path, network)
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
    for told in _other_meanings(config["heads"], heads, chosen.loaded):
        logger.warning("%s", told)
    return chosen


def _of_run(
    workdir: epath.Path, network: Network
) -> tuple[int, dict[str, np.ndarray], Mapping[str, Any]]:
    """The step of a run's best checkpoint, its weights by name, and its configuration's heads."""
    if not (workdir / checkpoint.FOLDER).exists():
        raise UserError(
            f"config.init_from={workdir} is a folder without checkpoints: name the --workdir of a"
            " run that was trained, or a file that Keras saved"
        )
    with checkpoint.open_manager(workdir, read_only=True) as manager:
        step = checkpoint.choose_step(manager, None)
        sharding = network.partition.state_sharding
        variables = jax.device_get(checkpoint.restore_any_model(manager, step, sharding))
        meta = checkpoint.read_meta(manager) or {}
    return step, weights.names_of(*variables), meta.get("config", {}).get("heads", {})


def _other_meanings(
    heads: Mapping[str, Any], theirs: Mapping[str, Any], loaded: Collection[str]
) -> Iterator[str]:
    """What is said of the heads whose outputs meant something else where their weights are from."""
    for name in sorted(heads.keys() & theirs.keys()):
        if not any(weight.startswith(f"{name}_output/") for weight in loaded):
            continue
        here = json.loads(json.dumps(heads[name]))
        other = [
            f"{field} {theirs[name][field]!r}, here {here[field]!r}"
            for field in _MEANING
            if field in theirs[name] and theirs[name][field] != here[field]
        ]
        if other:
            yield (
                f"Head {name} was trained with {' and '.join(other)}: its first predictions are of"
                " that"
            )


def with_initial(state: TrainState, chosen: weights.Chosen) -> TrainState:
    """A fresh state, on the host, with what was chosen in place."""
    params = weights.place(chosen.loaded, state.params)
    return dataclasses.replace(
        state,
        params=params,
        average=None if state.average is None else params,
        batch_stats=weights.place(chosen.loaded, state.batch_stats),
    )
