"""The networks in Keras 3, with a helper model for each head, as in the published loop.

KERAS_BACKEND has to be set before this is imported.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from benchmarks.peer_workers.workload import HeadBatch, Workload


@dataclasses.dataclass(frozen=True)
class Published:
    """A network as its trainer sees it.

    Attributes:
      whole: From images (and scalars) to the outputs of all heads.
      helpers: By head, the same network with the output of that head alone.
    """

    whole: keras.Model
    helpers: Mapping[str, keras.Model]

    def places(self, head: str, kind: str) -> list[int]:
        """Where the variables of a helper are among those of the whole network.

        Args:
          head: Whose helper.
          kind: "trainable_variables" or "non_trainable_variables".
        """
        place = {id(variable): k for k, variable in enumerate(getattr(self.whole, kind))}
        return [place[id(variable)] for variable in getattr(self.helpers[head], kind)]


def build(workload: Workload) -> Published:
    """The network with fresh weights; bfloat16 is Keras's mixed precision."""
    if workload.dtype == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    images = keras.Input((workload.height, workload.width, 3), dtype="uint8")
    scalars = keras.Input((len(workload.scalars),))
    inputs = [images, scalars] if workload.scalars else [images]
    x = _backbone(workload, keras.layers.Rescaling(1 / 127.5, offset=-1.0)(images))
    if workload.scalars:
        x = keras.layers.Concatenate()([x, scalars])
    for width in workload.common:
        x = keras.layers.Dense(width, activation="relu")(x)
    outputs = {head: _head(workload, x) for head in workload.heads}
    return Published(
        whole=keras.Model(inputs, list(outputs.values())),
        helpers={head: keras.Model(inputs, output) for head, output in outputs.items()},
    )


def _backbone(workload: Workload, x: Any) -> Any:
    if workload.blocks:
        xception = keras.applications.Xception(
            include_top=False, weights=None, input_tensor=x, pooling="avg"
        )
        return xception.output
    for layer in workload.convolutions:
        x = keras.layers.Conv2D(
            layer.channels, layer.size, layer.stride, padding=workload.padding, activation="relu"
        )(x)
    return keras.layers.Flatten()(x)


def _head(workload: Workload, x: Any) -> Any:
    for width in workload.head:
        x = keras.layers.Dense(width, activation="relu")(x)
    return keras.layers.Dense(1, dtype="float32")(x)


def inputs_of(workload: Workload, batch: HeadBatch) -> Sequence[Any]:
    """What a model gets of a batch."""
    return [batch.images, batch.scalars] if workload.scalars else [batch.images]
