"""The networks for the simulator's pictures: their published sizes, and what they compute.

The references are loops over the parameters with numpy and `jax.lax`, without Flax or our layers.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import udacity
from jaxdrive.errors import UserError
from jaxdrive.models import first_net, small_inception
from jaxdrive.models.multihead import make_model


@pytest.fixture(autouse=True)
def _strict_dtypes():
    with jax.numpy_dtype_promotion("strict"):
        yield


def network(name: str, **changes):
    config = udacity.get_config(name)
    model = make_model(
        config.model.to_dict() | changes, ["steering"], axis_name="data", platform="cpu"
    )
    return model, (config.data.height, config.data.width)


def shapes_of(name: str, size: tuple[int, int] | None = None, **changes):
    model, published = network(name, **changes)
    image = jax.ShapeDtypeStruct((1, *(size or published), 3), jnp.uint8)
    return jax.eval_shape(
        lambda key, image: model.init(key, {"image": image}, train=False), jax.random.key(0), image
    )


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def convolution(size: int, channels_in: int, channels_out: int) -> int:
    return size * size * channels_in * channels_out + channels_out


def test_the_first_net_has_the_size_that_was_published():
    assert count(shapes_of("first_net")) == 1_420_481


def test_the_padded_pilotnet_has_the_size_that_was_published():
    """Which counts the moving averages: a mean and a variance for each of 236 channels."""
    found = shapes_of("pilotnet_same")
    statistics = 2 * (24 + 36 + 48 + 64 + 64)
    assert count(found["batch_stats"]) == statistics
    assert count(found["params"]) == 2_441_963 - statistics


def test_the_small_inception_has_the_size_of_its_description():
    """Every output channel of a convolution has a scale, a shift, a mean and a variance."""

    def module(channels: int) -> int:
        narrow = 4 * convolution(1, channels, 16)
        return narrow + convolution(5, 16, 8) + convolution(3, 16, 8)

    features = (88 // 8) * (318 // 8) * (16 + 8 + 8 + 16)
    plain = convolution(3, 3, 8) + convolution(3, 8, 16)
    normalised = 8 + 16 + 2 * (4 * 16 + 8 + 8)
    found = shapes_of("small_inception")
    assert count(found["batch_stats"]) == 2 * normalised == 368
    total = plain + module(16) + module(48) + 2 * normalised + features + 1
    assert count(found["params"]) == total == 35_313


@pytest.mark.parametrize(
    ("name", "least"),
    [("first_net", first_net.LEAST_SIZE), ("small_inception", small_inception.LEAST_SIZE)],
)
def test_a_picture_that_is_too_small_is_refused_with_the_least(name, least):
    assert count(shapes_of(name, (least, least))) > 0
    for height, width in ((least - 1, 320), (90, least - 1)):
        with pytest.raises(UserError, match=rf"{name}' needs .* {least}x{least}, found {height}x"):
            shapes_of(name, (height, width))


@pytest.mark.parametrize(
    ("name", "use", "told"),
    [
        ("first_net", True, "never has batch normalisation, so set it to False"),
        ("small_inception", False, "always has batch normalisation, so set it to True"),
        ("pilotnet_same", False, "always has"),
    ],
)
def test_batch_normalisation_that_does_not_fit_is_refused(name, use, told):
    with pytest.raises(UserError, match=rf"batch_norm\.use={use}: {name} {told}"):
        network(name, batch_norm={"use": use})


def drawn(name: str, size: tuple[int, int], rows: int):
    """A network whose every number is drawn, its variables and pictures, in float64."""
    model, _ = network(name, batch_norm={"use": name != "first_net", **_NORM})
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (rows, *size, 3), np.uint8)
    shapes = jax.eval_shape(
        lambda key, image: model.init(key, {"image": image}, train=False), jax.random.key(0), image
    )
    variables = jax.tree.map(lambda leaf: 0.2 * generator.standard_normal(leaf.shape), shapes)
    return model, variables, image


_NORM = {"sync": False, "momentum": 0.9, "epsilon": 1e-3}


def convolved(x: np.ndarray, layer, *, stride: int = 1, padding: str) -> np.ndarray:
    """A convolution as a sum over its window, then a ReLU."""
    kernel = layer["kernel"]
    size = len(kernel)
    if padding == "SAME":
        pads = [(0, 0)]
        for length in x.shape[1:3]:
            lacking = max((-(-length // stride) - 1) * stride + size - length, 0)
            pads.append((lacking // 2, lacking - lacking // 2))
        x = np.pad(x, [*pads, (0, 0)])
    height, width = ((length - size) // stride + 1 for length in x.shape[1:3])
    total = np.zeros((len(x), height, width, kernel.shape[-1])) + layer["bias"]
    for row in range(size):
        for column in range(size):
            part = x[
                :,
                row : row + stride * (height - 1) + 1 : stride,
                column : column + stride * (width - 1) + 1 : stride,
            ]
            total += part @ kernel[row, column]
    return np.maximum(total, 0)


def normalised(x: np.ndarray, layer) -> np.ndarray:
    """By the statistics of the batch."""
    spread = np.sqrt(x.var(axis=(0, 1, 2)) + _NORM["epsilon"])
    return (x - x.mean(axis=(0, 1, 2))) / spread * layer["scale"] + layer["bias"]


def largest(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return windows[:, ::stride, ::stride].max(axis=(-2, -1))


def module_by_hand(x: np.ndarray, layers) -> np.ndarray:
    def layer(name: str, x: np.ndarray) -> np.ndarray:
        return normalised(convolved(x, layers[name], padding="SAME"), layers[f"{name}_bn"])

    around = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    branches = [
        layer("direct", x),
        layer("5x5", layer("before_5x5", x)),
        layer("3x3", layer("before_3x3", x)),
        layer("after_pool", largest(around, 3, 1)),
    ]
    return np.concatenate(branches, axis=-1)


def by_hand(name: str, image: np.ndarray, layers) -> np.ndarray:
    """The features of pictures; `layers` are the backbone's parameters."""
    x = image / 127.5 - 1
    if name == "first_net":
        for index in range(3):
            x = largest(convolved(x, layers[f"Conv_{index}"], padding="VALID"), 2, 2)
    elif name == "small_inception":
        for number in (1, 2):
            x = convolved(x, layers[f"conv{number}"], padding="SAME")
            x = normalised(x, layers[f"conv{number}_bn"])
        x = largest(x, 3, 1)
        for number in (1, 2):
            x = module_by_hand(x, layers[f"module{number}"])
        rows, columns = x.shape[1] // 8, x.shape[2] // 8
        x = x[:, : 8 * rows, : 8 * columns].reshape(len(x), rows, 8, columns, 8, -1)
        x = x.mean(axis=(2, 4))
    else:
        for index, stride in enumerate((2, 2, 2, 1, 1)):
            x = convolved(x, layers[f"Conv_{index}"], stride=stride, padding="SAME")
            x = normalised(x, layers[f"BatchNorm_{index}"])
    return x.reshape(len(x), -1)


@pytest.mark.parametrize(
    ("name", "size"),
    [("first_net", (24, 39)), ("small_inception", (19, 30)), ("pilotnet_same", (17, 26))],
)
def test_features_are_those_of_the_description(name, size):
    with jax.enable_x64(True):
        model, variables, image = drawn(name, size, rows=3)
        features, _ = model.backbone.apply(
            {
                "params": variables["params"]["backbone"],
                "batch_stats": variables.get("batch_stats", {}).get("backbone", {}),
            },
            jnp.asarray(image / 127.5 - 1),
            train=True,
            groups=1,
            mutable=["batch_stats"],
        )
    want = by_hand(name, image, variables["params"]["backbone"])
    assert np.std(want) > 0.01
    np.testing.assert_allclose(features, want, rtol=1e-9, atol=1e-12)
