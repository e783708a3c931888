"""What training carries from step to step. Its numbers are all that a checkpoint has to keep."""

from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn


@flax.struct.dataclass
class TrainState:
    """The state of a run.

    Attributes:
      step: Updates made so far, int32.
      position: The next batch to draw, int32. It moves on even where an update is skipped.
      params: The network's parameters.
      batch_stats: Moving averages of batch normalisation; empty without it.
      opt_state: The optimiser's.
      average: Moving average of `params`, see `average.py`; None where the run keeps none.
    """

    step: jax.Array
    position: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    average: Any = None

    @property
    def evaluated(self) -> Any:
        """The parameters that are measured and saved as the model: the average, if any."""
        return self.params if self.average is None else self.average


def initializer(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    image_shape: tuple[int, int, int],
    scalars: list[str],
    averaged: bool = False,
) -> Callable[[], TrainState]:
    """A function that makes a fresh state: its parameters depend on the seed alone.

    Args:
      model: The network.
      optimizer: Whose state starts.
      seed: The run's seed.
      image_shape: (height, width, channels).
      scalars: Names of the scalar inputs.
      averaged: Whether the state keeps an average of its parameters, which starts at them.
    """

    def init() -> TrainState:
        inputs = {"image": jnp.zeros((1, *image_shape), jnp.uint8)} | {
            name: jnp.zeros(1, jnp.float32) for name in scalars
        }
        variables = model.init(jax.random.key(seed), inputs, train=False)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            position=jnp.zeros((), jnp.int32),
            params=variables["params"],
            batch_stats=variables.get("batch_stats", {}),
            opt_state=optimizer.init(variables["params"]),
            average=variables["params"] if averaged else None,
        )

    return jax.jit(init)
