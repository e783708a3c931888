"""A checkpoint -> controls: what a car, a simulator or a server needs to be driven.

Pictures are fitted as in training; nothing here knows where they come from.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from jaxdrive.data.frames import Fit, fit_image
from jaxdrive.data.prepare import fit_of, fit_shape
from jaxdrive.heads import Head, commands
from jaxdrive.training.parts import Network
from jaxdrive.training.restored import restore_network
from jaxdrive.training.step import make_predict_step


@dataclasses.dataclass(frozen=True)
class Policy:
    """A network at the wheel, on one device.

    Attributes:
      step: Updates that it was trained for.
      heads: By name.
      fit: How a camera's picture becomes the network's.
      scalars: By name, the factor of every scalar input.
      predict: inputs -> {head: [n]}.
    """

    step: int
    heads: Mapping[str, Head]
    fit: Fit
    scalars: Mapping[str, float]
    predict: Callable[[Any], Any]

    def __call__(
        self, images: Sequence[np.ndarray], scalars: Mapping[str, Sequence[float]], *, rows: int
    ) -> dict[str, np.ndarray]:
        """Controls for n pictures.

        Args:
          images: n pictures as the camera gives them, each uint8 [H, W, 3].
          scalars: By name, n values in the unit in which they were recorded.
          rows: Size to which the n are filled up, so that the network compiles once.

        Returns:
          By name of the control, float32 [n], in its unit and range, see `heads.commands`.
        """
        filling = [0] * (rows - len(images))
        fitted = [fit_image(image, self.fit) for image in images]
        inputs: dict[str, Any] = {"image": np.stack(fitted + [fitted[0]] * len(filling))}
        for name, factor in self.scalars.items():
            inputs[name] = np.asarray([*scalars[name], *filling], np.float32) * np.float32(factor)
        predictions = jax.device_get(self.predict(inputs))
        told: dict[str, np.ndarray] = {}
        for name, head in self.heads.items():
            told |= commands(head, predictions[name][: len(images)])
        return told


def load_policy(config: Mapping[str, Any], workdir: epath.Path, step: int | None) -> Policy:
    """The policy of a checkpoint in `workdir`: of `step`, or the best, or the latest.

    Every process of a run has to call this; each gets a policy on its own first device.

    Raises:
      UserError: There is no such checkpoint, or it cannot be read.
    """
    restored = restore_network(config, workdir, fit_shape(config["data"]), step=step)
    return make_policy(config, restored.network, restored.variables, step=restored.step)


def make_policy(
    config: Mapping[str, Any], network: Network, variables: tuple[Any, Any], *, step: int
) -> Policy:
    """The policy of a network with the (params, batch_stats) that it has after `step` updates."""
    return Policy(
        step=step,
        heads=network.heads,
        fit=fit_of(config["data"]),
        scalars=dict(config["scalars"]),
        predict=_predict_on_one_device(network, variables),
    )


def _predict_on_one_device(network: Network, spread: tuple[Any, Any]) -> Callable[[Any], Any]:
    device = jax.local_devices()[0]
    host = jax.tree.map(lambda array: np.asarray(array.addressable_data(0)), spread)
    variables = jax.device_put(host, device)
    predict = jax.jit(make_predict_step(network.model, network.heads))
    return lambda inputs: predict(variables, jax.device_put(inputs, device))
