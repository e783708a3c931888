"""Keras 3 on TensorFlow: the published loop in one tf.function.

Command (started by benchmarks/peers.py):
  python -m benchmarks.peer_workers.keras_tensorflow WORKLOAD graph|xla
"""

import os
from collections.abc import Sequence
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
# Other workers share the GPU.
os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"

import keras
import tensorflow as tf

from benchmarks.peer_workers.keras_network import Published, build, inputs_of
from benchmarks.peer_workers.protocol import Work, serve
from benchmarks.peer_workers.workload import Workload, random_batches, total


def make_step(workload: Workload, network: Published, *, jit_compile: bool) -> Any:
    """step({head: (inputs, labels)}) -> {head: loss}; updates the network's variables."""
    optimizer = keras.optimizers.Adam(workload.learning_rate)
    variables = network.whole.trainable_variables
    optimizer.build(variables)
    places = {head: network.places(head, "trainable_variables") for head in workload.heads}

    @tf.function(autograph=False, jit_compile=jit_compile)
    def step(batches: Any) -> Any:
        gradients: list[Any] = [None] * len(variables)
        losses = {}
        for head, helper in network.helpers.items():
            inputs, labels = batches[head]
            with tf.GradientTape() as tape:
                outputs = helper(inputs, training=True)
                losses[head] = tf.reduce_mean(tf.square(outputs - labels))
            own = [variable.value for variable in helper.trainable_variables]
            for place, gradient in zip(places[head], tape.gradient(losses[head], own), strict=True):
                known = gradients[place]
                gradients[place] = gradient if known is None else known + gradient
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return losses

    return step


def make(arguments: Sequence[str]) -> Work:
    """The step of a workload, and its batch."""
    text, mode = arguments
    workload = Workload.from_json(text)
    network = build(workload)
    step = make_step(workload, network, jit_compile=mode == "xla")
    batches = random_batches(workload)

    def update() -> float:
        tensors = {
            head: (
                [tf.constant(array) for array in inputs_of(workload, batch)],
                tf.constant(batch.labels),
            )
            for head, batch in batches.items()
        }
        return total({head: loss.numpy() for head, loss in step(tensors).items()})

    gpus = tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
    return Work(
        update=update,
        # The losses come last on a CPU; a GPU works in order.
        finish=lambda: network.whole.trainable_variables[-1].numpy(),
        device=details.get("device_name", "gpu") if gpus else "cpu",
        parameters=network.whole.count_params(),
    )


if __name__ == "__main__":
    serve(make, ["tensorflow", "keras"])
