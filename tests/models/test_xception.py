"""Xception: its published size, its blocks, and its layers against the stock ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs import xception
from jaxdrive.errors import UserError
from jaxdrive.models.multihead import make_model

HEADS = ("brake", "steering", "throttle")


@pytest.fixture(autouse=True)
def _strict_dtypes():
    with jax.numpy_dtype_promotion("strict"):
        yield


def model_of(outputs=None, heads=HEADS, **fields):
    config = xception.get_config().model.to_dict() | fields
    return make_model(config, heads, axis_name="data", platform="cpu", outputs=outputs)


def shapes_of(height, width, **fields):
    inputs = {"image": jax.ShapeDtypeStruct((1, height, width, 3), jnp.uint8)}
    init = model_of(**fields).init
    return jax.eval_shape(lambda key, x: init(key, x, train=False), jax.random.key(0), inputs)


def size(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(("height", "width"), [(71, 71), (96, 96), (72, 133)])
def test_it_has_the_published_size_whatever_the_frame(height, width):
    variables = shapes_of(height, width)
    params, batch_stats = variables["params"], variables["batch_stats"]
    assert (size(variables), size(params), size(batch_stats)) == (23_799_371, 23_744_843, 54_528)
    assert size(params["backbone"]) + size(batch_stats["backbone"]) == 20_861_480
    kernels = [leaf.shape for leaf in jax.tree.leaves(params["backbone"]) if len(leaf.shape) == 4]
    assert sum(shape[:3] == (3, 3, 1) for shape in kernels) == 34
    assert len(kernels) == 2 * 34 + 6


@pytest.mark.parametrize(
    ("fields", "total"),
    [
        ({"head": ()}, 22_962_731),
        # Logits of the seven discrete deltas right on the common part.
        ({"head": (), "outputs": dict.fromkeys(HEADS, 7)}, 22_981_181),
        ({"heads": HEADS[:2]}, 23_519_466),
    ],
)
def test_its_published_variants_have_their_sizes(fields, total):
    variables = shapes_of(71, 71, **fields)
    params, batch_stats = variables["params"], variables["batch_stats"]
    assert (size(variables), size(params), size(batch_stats)) == (total, total - 54_528, 54_528)


@pytest.mark.parametrize(("height", "width"), [(70, 96), (96, 70)])
def test_frames_that_are_too_small_are_refused(height, width):
    expected = rf"config\.data\.height={height}, config\.data\.width={width}: .* at least 71"
    with pytest.raises(UserError, match=expected):
        shapes_of(height, width)


def test_it_is_refused_without_batch_normalisation():
    config = xception.get_config().model
    config.batch_norm.use = False
    with pytest.raises(UserError, match=r"config\.model\.batch_norm\.use=False: xception always"):
        make_model(config.to_dict(), HEADS, axis_name="data", platform="cpu")


def published(params, statistics, x):
    """The published network, written down flat; every convolution is XLA's own."""

    def norm(name, x):
        p, s = (functools.reduce(dict.get, name.split("/"), tree) for tree in (params, statistics))
        scale = p["scale"] / jnp.sqrt(s["variance"] + 1e-3)
        return x * scale[None, None, None] + (p["bias"] - s["mean"] * scale)[None, None, None]

    def conv(name, x, *, stride=1, padding="SAME", groups=1):
        kernel = functools.reduce(dict.get, name.split("/"), params)["kernel"]
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (stride,) * 2, padding, dimension_numbers=layout, feature_group_count=groups
        )

    def separable(name, x):
        x = conv(f"{name}/depthwise", x, groups=x.shape[-1])
        return norm(f"{name}_bn", conv(f"{name}/pointwise", x))

    x = nn.relu(norm("block1/conv1_bn", conv("block1/conv1", x, stride=2, padding="VALID")))
    x = nn.relu(norm("block1/conv2_bn", conv("block1/conv2", x, padding="VALID")))
    for number in (2, 3, 4, *range(5, 13), 13):
        block = f"block{number}"
        if number in (2, 3, 4, 13):
            y = separable(f"{block}/sepconv1", x if number == 2 else nn.relu(x))
            y = nn.max_pool(
                separable(f"{block}/sepconv2", nn.relu(y)), (3, 3), strides=(2, 2), padding="SAME"
            )
            x = y + norm(f"{block}/shortcut_bn", conv(f"{block}/shortcut", x, stride=2))
        else:
            y = x
            for part in (1, 2, 3):
                y = separable(f"{block}/sepconv{part}", nn.relu(y))
            x = x + y
    x = nn.relu(separable("block14/sepconv1", x))
    return nn.relu(separable("block14/sepconv2", x)).mean(axis=(1, 2))


def test_it_computes_what_the_published_network_computes():
    generator = np.random.default_rng(0)

    def drawn(path, leaf):
        if path[-1].key == "kernel":
            spread = np.sqrt(2 / np.prod(leaf.shape[:3]))
            return generator.normal(0, spread, leaf.shape).astype(np.float32)
        low, high = {"scale": (0.5, 1), "variance": (0.5, 1)}.get(path[-1].key, (-0.5, 0.5))
        return generator.uniform(low, high, leaf.shape).astype(np.float32)

    variables = jax.tree_util.tree_map_with_path(drawn, shapes_of(71, 80))
    params, statistics = (variables[name]["backbone"] for name in ("params", "batch_stats"))
    backbone = model_of().backbone

    @jax.jit
    def both(params, statistics, x):
        ours = {"params": params, "batch_stats": statistics}
        return (
            backbone.apply(ours, x, train=False, groups=1),
            published(params, statistics, x),
        )

    picture = generator.uniform(-1, 1, (1, 71, 80, 3)).astype(np.float32)
    got, want = both(params, statistics, picture)
    assert np.std(want) > 0
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * np.abs(want).max())
