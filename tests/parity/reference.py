"""The published Xception, that of keras.applications, with random weights and statistics.

Its weights come to ours through a file and the importer that runs use. KERAS_BACKEND has to be
"jax" before this is imported.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import keras
import numpy as np
from etils import epath
from flax import linen as nn

from configs import xception
from jaxdrive.models import weights
from jaxdrive.models.multihead import make_model

# Keras computes batch normalisation in float32 whatever its layers' dtype is, by this table, since
# JAX does so unless it is told otherwise.
_TO_32_BITS = "keras.src.backend.common.dtypes.BIT64_TO_BIT32_DTYPE"


@contextlib.contextmanager
def computing_in(dtype: str) -> Iterator[None]:
    """Keras and JAX compute in `dtype`, "float32" or "float64", and models keep their variables so.

    Models are built and called inside.
    """
    before = keras.config.floatx()
    # Of pictures, and of all else.
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    try:
        with (
            jax.enable_x64(dtype == "float64"),
            jax.numpy_rank_promotion("allow"),
            mock.patch.dict(_TO_32_BITS, {"float64": "float64"}),
        ):
            yield
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(before)


def published_xception() -> keras.Model:
    """Pictures of any size to pooled features, with random weights."""
    # They are replaced anyway, and XLA needs half a minute to compile how they are drawn.
    zeros = mock.patch.object(
        keras.initializers.GlorotUniform,
        "__call__",
        lambda self, shape, dtype=None: np.zeros(shape, dtype),
    )
    with zeros:
        model = keras.applications.Xception(
            include_top=False, weights=None, input_shape=(None, None, 3), pooling="avg"
        )
    randomise(model, seed=0)
    return model


def randomise(model: keras.Model, *, seed: int) -> None:
    """Draws every variable anew; statistics are such that activations stay of the order of 1."""
    generator = np.random.default_rng(seed)
    for variable in model.variables:
        kind, shape = variable.name, variable.shape
        if "kernel" in kind:
            # A depthwise kernel has its one output last. It alone follows a ReLU, which halves.
            depthwise = kind == "depthwise_kernel"
            inputs = np.prod(shape[:2]) / 2 if depthwise else np.prod(shape[:-1])
            value = generator.normal(0, np.sqrt(1 / inputs), shape)
        elif kind == "moving_variance":
            value = generator.uniform(0.5, 1.5, shape)
        elif kind == "gamma":
            value = generator.uniform(0.3, 0.9, shape)
        else:
            value = generator.uniform(-0.2, 0.2, shape)
        # Exact in both dtypes.
        variable.assign(value.astype(np.float32))


def carried(model: keras.Model, template: Any, folder: Path, *, part: str) -> dict[str, Any]:
    """The variables of a Keras model as ours, through a file.

    Args:
      model: Xception, or a network that contains it.
      template: Variables of ours, for names, shapes and dtypes.
      folder: Where the file may lie for a moment.
      part: What is carried, see `jaxdrive/models/weights.py`.
    """
    file = epath.Path(folder) / "published.weights.h5"
    model.save_weights(str(file))
    found = weights.read_keras(file)
    file.unlink()
    wanted = weights.names_of(template["params"], template["batch_stats"])
    shapes = {name: leaf.shape for name, leaf in wanted.items()}
    chosen = weights.choose(found, shapes, part=part, where=str(file))
    return {name: weights.place(chosen.loaded, tree) for name, tree in template.items()}


def our_xception() -> nn.Module:
    """The backbone of configs/xception.py on one device."""
    config = xception.get_config().model.to_dict()
    config["batch_norm"]["sync"] = False
    return make_model(config, ["steering"], axis_name="data", platform="cpu").backbone


def compare(model: keras.Model, folder: Path, *, height: int, width: int) -> list[dict[str, Any]]:
    """Runs both on the same two random pictures, in inference and in training mode.

    Returns:
      For each of "features, inference", "features, training" and "moving averages": the largest
      magnitude of Keras's, and the largest difference, absolute and relative to each value.
    """
    dtype = model.variables[0].dtype
    ours = our_xception()
    pictures = np.random.default_rng(1).uniform(-1, 1, (2, height, width, 3)).astype(dtype)
    template = _zeros(ours, pictures)
    variables = carried(model, template, folder, part="backbone")
    rows = []
    for train in (False, True):

        def run(variables: Any, train: bool = train) -> Any:
            backbone = {name: tree["backbone"] for name, tree in variables.items()}
            return ours.apply(backbone, pictures, train=train, groups=1, mutable=["batch_stats"])

        def run_keras(trainable: Any, other: Any, train: bool = train) -> Any:
            return model.stateless_call(trainable, other, pictures, training=train)

        got, moved = jax.jit(run)(variables)
        values = [
            [variable.value for variable in part]
            for part in (model.trainable_variables, model.non_trainable_variables)
        ]
        want, moved_there = jax.jit(run_keras)(*values)
        mode = "training" if train else "inference"
        rows.append(_difference(f"features, {mode}", got, want))
    before = values[1]
    _assign(model, moved_there)
    expected = carried(model, template, folder, part="backbone")["batch_stats"]["backbone"]
    _assign(model, before)
    both = (jax.tree.leaves(tree) for tree in (moved["batch_stats"], expected))
    return [*rows, _difference("moving averages", *map(np.concatenate, both))]


def _zeros(backbone: nn.Module, pictures: np.ndarray) -> dict[str, Any]:
    """Variables of a network that has this backbone, in the dtype of the pictures."""
    shapes = jax.eval_shape(
        lambda: backbone.init(jax.random.key(0), pictures, train=False, groups=1)
    )
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, pictures.dtype), shapes)
    return {name: {"backbone": tree} for name, tree in zeros.items()}


def _assign(model: keras.Model, moving_averages: Any) -> None:
    for variable, value in zip(model.non_trainable_variables, moving_averages, strict=True):
        variable.assign(value)


def _difference(what: str, got: Any, want: Any) -> dict[str, Any]:
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    apart = np.abs(got - want)
    return {
        "what": what,
        "largest": float(np.abs(want).max()),
        "absolute": float(apart.max()),
        "relative": float((apart / np.maximum(np.abs(want), np.finfo(np.float64).tiny)).max()),
    }
