"""Keras 3 on JAX: the published loop in one jitted step that gives up its old state.

Command (started by benchmarks/peers.py):
  python -m benchmarks.peer_workers.keras_jax WORKLOAD
"""

import os
from collections.abc import Sequence
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
import keras

from benchmarks.peer_workers.keras_network import Published, build, inputs_of
from benchmarks.peer_workers.protocol import Work, serve
from benchmarks.peer_workers.workload import Workload, random_batches, total

_TRAINABLE, _OTHER = "trainable_variables", "non_trainable_variables"


def make_step(workload: Workload, network: Published, optimizer: Any) -> Any:
    """step(state, {head: (inputs, labels)}) -> (state, {head: loss}).

    The state is the values of the trainable, the other and the optimiser's variables.
    """
    places = {
        head: (network.places(head, _TRAINABLE), network.places(head, _OTHER))
        for head in workload.heads
    }

    def loss_of(own: Any, other: Any, head: str, inputs: Any, labels: Any) -> Any:
        outputs, moved = network.helpers[head].stateless_call(own, other, inputs, training=True)
        return jnp.mean(jnp.square(outputs - labels)), moved

    def step(state: Any, batches: Any) -> Any:
        trainable, other, kept = state
        gradients: list[Any] = [None] * len(trainable)
        losses = {}
        for head, (own, averages) in places.items():
            (losses[head], moved), found = jax.value_and_grad(loss_of, has_aux=True)(
                [trainable[k] for k in own], [other[k] for k in averages], head, *batches[head]
            )
            for place, gradient in zip(own, found, strict=True):
                known = gradients[place]
                gradients[place] = gradient if known is None else known + gradient
            other = list(other)
            for place, value in zip(averages, moved, strict=True):
                other[place] = value
        trainable, kept = optimizer.stateless_apply(kept, gradients, trainable)
        return (trainable, other, kept), losses

    return jax.jit(step, donate_argnums=0)


def make(arguments: Sequence[str]) -> Work:
    """The step of a workload, and its batch."""
    (text,) = arguments
    workload = Workload.from_json(text)
    network = build(workload)
    optimizer = keras.optimizers.Adam(workload.learning_rate)
    optimizer.build(network.whole.trainable_variables)
    step = make_step(workload, network, optimizer)
    batches = {
        head: (inputs_of(workload, batch), batch.labels)
        for head, batch in random_batches(workload).items()
    }
    variables = (
        getattr(network.whole, _TRAINABLE),
        getattr(network.whole, _OTHER),
        optimizer.variables,
    )
    # Copies, since the step gives its arrays up.
    state: Any = tuple([jnp.array(v.value, copy=True) for v in part] for part in variables)

    def update() -> float:
        nonlocal state
        state, losses = step(state, batches)
        return total(jax.device_get(losses))

    device = jax.devices()[0]
    return Work(
        update=update,
        finish=lambda: jax.block_until_ready(state),
        device="cpu" if device.platform == "cpu" else device.device_kind,
        parameters=network.whole.count_params(),
    )


if __name__ == "__main__":
    serve(make, ["jax", "jaxlib", "keras"])
