"""The network of a checkpoint, with the constants that it was saved with: for whoever predicts."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from etils import epath

from jaxdrive.errors import UserError
from jaxdrive.heads import Shares
from jaxdrive.training import checkpoint
from jaxdrive.training.parts import Network, make_network


@dataclasses.dataclass(frozen=True)
class RestoredNetwork:
    """A network and its weights.

    Attributes:
      step: Of the checkpoint.
      network: With the shares of its heads' bins.
      variables: (params, batch_stats), on devices as the network's partition has them.
      trained_on: Fingerprint of the run's dataset; None where the checkpoint does not tell it.
    """

    step: int
    network: Network
    variables: tuple[Any, Any]
    trained_on: str | None


def restore_network(
    config: Mapping[str, Any],
    workdir: epath.Path,
    image_shape: tuple[int, int, int],
    *,
    step: int | None,
) -> RestoredNetwork:
    """Restores one checkpoint of a run.

    Args:
      config: Of the run.
      workdir: Of the run.
      image_shape: (height, width, channels) of the network's images.
      step: Which checkpoint; None takes the best, or the latest where none was measured.

    Raises:
      UserError: There is no such checkpoint, it cannot be read, or it lacks what a head needs.
    """
    with checkpoint.open_manager(workdir, read_only=True) as manager:
        chosen = checkpoint.choose_step(manager, step)
        meta = checkpoint.read_meta(manager, chosen) or {}
        shares = {name: Shares(**both) for name, both in meta.get("bin_shares", {}).items()}
        network = make_network(config, image_shape, shares=shares)
        for name, head in network.heads.items():
            if head.prior == "recorded" and head.shares is None:
                raise UserError(
                    f"config.heads.{name}.prior='recorded': checkpoint {chosen} in {workdir} does"
                    " not say how often each bin was recorded and drawn, since an earlier version"
                    " saved it or it is damaged. Leave the prior at 'drawn', or train again"
                )
        variables = checkpoint.restore_model(
            manager, chosen, network.template, network.partition.state_sharding
        )
    return RestoredNetwork(chosen, network, variables, meta.get("dataset_fingerprint"))
