"""An exponential moving average of the parameters, kept beside them (Polyak and Juditsky, 1992).

Held-out frames are measured with the average and checkpoints save it as the model. Training itself
does not see it: gradients, alarms and predictions of training batches are those of the parameters.
Statistics of batch normalisation are running averages already and are used as they are.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxdrive.training.scopes import OPTIMIZER, scope
from jaxdrive.training.state import TrainState

_Step = Callable[[TrainState, Mapping[str, Any]], tuple[TrainState, dict[str, Any]]]


def with_average(step: _Step, decay: float) -> _Step:
    """A step of one device that also updates the state's average.

    A skipped update leaves the average as it is.

    Args:
      step: From `step.make_train_step`.
      decay: Share of the average that an update keeps, above 0 and below 1; less in the first
        updates.

    Returns:
      train_step(state, batch) -> (state, metrics), of a state that has an average.
    """

    def train_step(
        state: TrainState, batch: Mapping[str, Any]
    ) -> tuple[TrainState, dict[str, Any]]:
        after, metrics = step(state, batch)

        def averaged(old: jax.Array, new: jax.Array) -> jax.Array:
            # Update n keeps min(decay, (1 + n) / (10 + n)), the rule of TensorFlow's num_updates:
            # the average of a short run spans its last ninth, even where the decay is for a long
            # one. Adam's correction would weigh the first, poor parameters like the latest.
            share = jnp.maximum(1 - decay, 9 / (10 + after.step.astype(new.dtype)))
            return jnp.where(metrics["skipped"], old, old + share * (new - old))

        with scope(OPTIMIZER):
            average = jax.tree.map(averaged, state.average, after.params)
        return dataclasses.replace(after, average=average), metrics

    return train_step
