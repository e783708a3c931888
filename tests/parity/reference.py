"""Networks in Keras with random weights and statistics: the published Xception, small Inception.

Xception is that of keras.applications. Weights come to ours through a file and the importer that
runs use. KERAS_BACKEND has to be "jax" before this is imported.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import keras
import numpy as np
from etils import epath
from flax import linen as nn

from configs import udacity, xception
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


def published_small_inception(height: int, width: int) -> keras.Model:
    """Images to the flattened means of 8x8 windows, with random weights.

    Layers of a module are called "module1_5x5", that of ours is "module1/5x5".
    """

    def convolve(x: Any, channels: int, size: int, name: str) -> Any:
        x = keras.layers.Conv2D(channels, size, padding="same", activation="relu", name=name)(x)
        return keras.layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_bn")(x)

    image = keras.Input((height, width, 3))
    x = convolve(convolve(image, 8, 3, "conv1"), 16, 3, "conv2")
    x = keras.layers.MaxPooling2D(3, 1)(x)
    for module in ("module1", "module2"):
        wide = convolve(convolve(x, 16, 1, f"{module}_before_5x5"), 8, 5, f"{module}_5x5")
        small = convolve(convolve(x, 16, 1, f"{module}_before_3x3"), 8, 3, f"{module}_3x3")
        pooled = keras.layers.MaxPooling2D(3, 1, padding="same")(x)
        after_pool = convolve(pooled, 16, 1, f"{module}_after_pool")
        direct = convolve(x, 16, 1, f"{module}_direct")
        x = keras.layers.Concatenate()([direct, wide, small, after_pool])
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(8, 8)(x))
    model = keras.Model(image, x)
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
      model: Xception or small Inception, or a network that contains Xception.
      template: Variables of ours, for names, shapes and dtypes.
      folder: Where the file may lie for a moment.
      part: What is carried, see `jaxdrive/models/weights.py`.
    """
    file = epath.Path(folder) / "published.weights.h5"
    model.save_weights(str(file))
    read = weights.read_keras(file)
    file.unlink()
    found = {re.sub(r"(module\d)_", r"\1/", name): array for name, array in read.items()}
    wanted = weights.names_of(template["params"], template["batch_stats"])
    shapes = {name: leaf.shape for name, leaf in wanted.items()}
    chosen = weights.choose(found, shapes, part=part, where=str(file))
    return {name: weights.place(chosen.loaded, tree) for name, tree in template.items()}


def our_xception() -> nn.Module:
    """The backbone of configs/xception.py on one device."""
    return _backbone(xception.get_config())


def our_small_inception() -> nn.Module:
    """The backbone of configs/udacity.py:small_inception on one device."""
    return _backbone(udacity.get_config("small_inception"))


def _backbone(config: Any) -> nn.Module:
    settings = config.model.to_dict()
    settings["batch_norm"]["sync"] = False
    return make_model(settings, ["steering"], axis_name="data", platform="cpu").backbone


def compare(
    model: keras.Model, ours: nn.Module, folder: Path, *, height: int, width: int
) -> list[dict[str, Any]]:
    """Runs both on the same two random images, in inference and in training mode.

    Returns:
      For each of "features, inference", "features, training" and "moving averages": the largest
      magnitude of Keras's, and the largest difference, absolute and relative to each value.
    """
    pictures = _images(model, height, width)
    template = _zeros(ours, pictures)
    variables = carried(model, template, folder, part="backbone")
    rows = []
    for train in (False, True):

        def run(variables: Any, train: bool = train) -> Any:
            return _apply(ours, variables, pictures, train=train)

        def run_keras(trainable: Any, other: Any, train: bool = train) -> Any:
            return model.stateless_call(trainable, other, pictures, training=train)

        got, moved = jax.jit(run)(variables)
        values = _values(model)
        want, moved_there = jax.jit(run_keras)(*values)
        mode = "training" if train else "inference"
        rows.append(_difference(f"features, {mode}", got, want))
    _, before = values
    _assign(model.non_trainable_variables, moved_there)
    expected = carried(model, template, folder, part="backbone")["batch_stats"]["backbone"]
    _assign(model.non_trainable_variables, before)
    both = (jax.tree.leaves(tree) for tree in (moved["batch_stats"], expected))
    return [*rows, _difference("moving averages", *map(np.concatenate, both))]


def compare_gradients(
    model: keras.Model, ours: nn.Module, folder: Path, *, height: int, width: int
) -> list[dict[str, Any]]:
    """Runs both on the same two random images, in training mode, and backward.

    Returns:
      By parameter of ours, what `compare` returns, of the gradient of the features' weighted sum.
    """
    images = _images(model, height, width)
    template = _zeros(ours, images)
    variables = carried(model, template, folder, part="backbone")
    weighing = np.random.default_rng(2).normal(size=(len(images), *model.output.shape[1:]))
    trainable, other = _values(model)

    def loss(params: Any) -> Any:
        features, _ = _apply(ours, variables | {"params": params}, images, train=True)
        return jnp.sum(features * weighing)

    def loss_in_keras(trainable: Any) -> Any:
        features, _ = model.stateless_call(trainable, other, images, training=True)
        return jnp.sum(features * weighing)

    got = jax.jit(jax.grad(loss))(variables["params"])
    _assign(model.trainable_variables, jax.jit(jax.grad(loss_in_keras))(trainable))
    want = carried(model, template, folder, part="backbone")["params"]
    _assign(model.trainable_variables, trainable)
    want = weights.names_of(want, {})
    return [_difference(name, g, want[name]) for name, g in weights.names_of(got, {}).items()]


def _images(model: keras.Model, height: int, width: int) -> np.ndarray:
    shape = (2, height, width, 3)
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(model.variables[0].dtype)


def _apply(ours: nn.Module, variables: Any, images: np.ndarray, *, train: bool) -> Any:
    backbone = {name: tree["backbone"] for name, tree in variables.items()}
    return ours.apply(backbone, images, train=train, groups=1, mutable=["batch_stats"])


def _values(model: keras.Model) -> list[list[Any]]:
    """Its trainable variables and the others, as arrays."""
    parts = (model.trainable_variables, model.non_trainable_variables)
    return [[variable.value for variable in part] for part in parts]


def _zeros(backbone: nn.Module, pictures: np.ndarray) -> dict[str, Any]:
    """Variables of a network that has this backbone, in the dtype of the pictures."""
    shapes = jax.eval_shape(
        lambda: backbone.init(jax.random.key(0), pictures, train=False, groups=1)
    )
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, pictures.dtype), shapes)
    return {name: {"backbone": tree} for name, tree in zeros.items()}


def _assign(variables: Any, values: Any) -> None:
    for variable, value in zip(variables, values, strict=True):
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
