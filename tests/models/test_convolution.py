"""Every way of computing a convolution against the stock one: values and both gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdrive.models import convolution, formulations
from jaxdrive.models.formulations import Platform
from jaxdrive.models.layers import DepthwiseConv, PointwiseConv, SeparableConv, conv
from jaxdrive.models.native_convolution import native_conv
from jaxdrive.native import library

DTYPES = {np.float32: 1e-5, np.float64: 1e-12}
needs_native = pytest.mark.skipif(
    library.load() is None, reason="needs pip install -e '.[native]' and a C++ compiler"
)
FORMS = [
    *((convolution.conv_by_phases, dtype) for dtype in DTYPES),
    pytest.param((native_conv, np.float32), marks=needs_native),
]


def assert_equal(one, other, arrays, tolerance):
    """Values and gradients agree, measured by the largest number of each."""

    def results(function):
        y, pull_back = jax.vjp(function, *arrays)
        weights = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
        return y, *pull_back(weights)

    both = jax.jit(lambda: (results(one), results(other)))
    for got, want in zip(*both(), strict=True):
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        scale = max(float(np.abs(want).max()), 1e-3)
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * scale)


def draw(shapes, dtype):
    generator = np.random.default_rng(0)
    return [jnp.asarray(generator.normal(size=shape), dtype) for shape in shapes]


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 3),
    size=st.tuples(st.integers(5, 13), st.integers(5, 13)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    padding=st.sampled_from(["VALID", "SAME"]),
)
def test_a_convolution_in_another_form_is_the_stock_one(
    form, n, size, kernel, stride, channels, padding
):
    function, dtype = form
    with jax.enable_x64(dtype == np.float64):
        arrays = draw([(n, *size, channels[0]), (*kernel, *channels)], dtype)
        pads = jax.lax.padtype_to_pads(size, kernel, (stride, stride), padding)
        pads = tuple(tuple(int(pad) for pad in pair) for pair in pads)
        assert_equal(
            lambda x, k: function(x, k, stride, pads),
            lambda x, k: convolution.stock_conv(x, k, stride, padding),
            arrays,
            DTYPES[dtype],
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 24, 32])
@pytest.mark.parametrize(("height", "width", "channels"), [(6, 9, 5), (1, 2, 2), (3, 1, 1)])
def test_depthwise_products_are_the_stock_convolution(n, height, width, channels, dtype):
    with jax.enable_x64(dtype == np.float64):
        arrays = draw([(n, height, width, channels), (3, 3, 1, channels)], dtype)
        assert_equal(
            convolution.depthwise_products,
            lambda x, k: convolution.stock_conv(x, k, 1, "SAME", groups=channels),
            arrays,
            DTYPES[dtype],
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("n", "height", "width"), [(2, 6, 9), (1, 1, 2)])
def test_a_pointwise_product_is_the_stock_convolution(n, height, width, stride, dtype):
    with jax.enable_x64(dtype == np.float64):
        arrays = draw([(n, height, width, 5), (1, 1, 5, 4)], dtype)
        assert_equal(
            lambda x, k: convolution.pointwise_product(x, k, stride),
            lambda x, k: convolution.stock_conv(x, k, stride, "SAME"),
            arrays,
            DTYPES[dtype],
        )


def flax_layers(platform):
    """Ours, and Flax's own with the same parameters."""
    wide = functools.partial(nn.Conv, use_bias=False)
    return {
        "conv": (conv(4, 5, stride=2, platform=platform), nn.Conv(4, (5, 5), strides=2)),
        "valid": (
            conv(4, 3, stride=2, padding="VALID", platform=platform),
            nn.Conv(4, (3, 3), strides=2, padding="VALID"),
        ),
        "depthwise": (DepthwiseConv(platform), wide(6, (3, 3), feature_group_count=6)),
        "pointwise": (PointwiseConv(4, platform, stride=2), wide(4, (1, 1), strides=2)),
        "separable": (
            SeparableConv(4, platform),
            nn.Sequential([wide(6, (3, 3), feature_group_count=6), wide(4, (1, 1))]),
        ),
    }


PLATFORMS = [
    Platform("cpu"),
    Platform("tpu"),
    pytest.param(Platform("cpu", native=True), marks=needs_native),
]


@pytest.mark.parametrize("name", flax_layers(Platform("cpu")))
@pytest.mark.parametrize("platform", PLATFORMS)
def test_layers_equal_those_of_flax(platform, name):
    ours, flax = flax_layers(platform)[name]
    x = draw([(2, 11, 14, 6)], np.float32)[0]
    params = ours.init(jax.random.key(0), x)
    stock = flax.init(jax.random.key(0), x)
    leaves = jax.tree.leaves(params)
    stock = jax.tree.unflatten(jax.tree.structure(stock), leaves)
    np.testing.assert_allclose(ours.apply(params, x), flax.apply(stock, x), rtol=1e-5, atol=1e-5)


@needs_native
def test_native_convolutions_run_on_several_devices_at_once():
    """Devices run in threads of their own; they share what oneDNN keeps for each shape."""
    x, kernel = draw([(8, 33, 40, 3), (5, 5, 3, 24)], np.float32)
    pads = ((1, 2), (2, 1))

    def gradients(function, x, kernel):
        def loss(x, kernel):
            return jnp.sin(function(x, kernel, 2, pads)).sum()

        return jax.grad(loss, (0, 1))(x, kernel)

    def on_a_device(x, kernel):
        image_gradient, kernel_gradient = gradients(native_conv, x, kernel)
        return image_gradient, jax.lax.psum(kernel_gradient, "data")

    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
    data, whole = jax.sharding.PartitionSpec("data"), jax.sharding.PartitionSpec()
    spread = jax.jit(
        jax.shard_map(
            on_a_device,
            mesh=mesh,
            in_specs=(data, whole),
            out_specs=(data, whole),
            check_vma=False,
        )
    )
    expected = gradients(convolution.stock_conv, x, kernel)
    for _ in range(20):
        for got, want in zip(spread(x, kernel), expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * float(abs(want).max()))


@needs_native
def test_native_shapes_that_do_not_belong_together_are_an_error_of_the_program():
    x, kernel = draw([(2, 6, 6, 3), (3, 3, 4, 5)], np.float32)
    with pytest.raises(jax.errors.JaxRuntimeError, match="shapes of images, kernel and output"):
        jax.block_until_ready(native_conv(x, kernel, 1, ((0, 0), (0, 0))))


@pytest.mark.parametrize(
    ("platform", "dtype", "padding", "is_native"),
    [
        (Platform("cpu", native=True), np.float32, "SAME", True),
        (Platform("cpu", native=True), jnp.bfloat16, "SAME", False),
        (Platform("cpu", native=True), np.float32, ((-1, 1), (1, 1)), False),
        (Platform("cpu"), np.float32, "SAME", False),
        (Platform("gpu"), np.float32, "SAME", False),
    ],
)
def test_only_float32_on_a_cpu_is_native(platform, dtype, padding, is_native):
    layer = conv(4, 3, stride=2, padding=padding, platform=platform, dtype=dtype)
    x = jnp.zeros((2, 11, 14, 6), dtype)
    params = jax.eval_shape(layer.init, jax.random.key(0), x)
    assert ("ffi_call" in str(jax.make_jaxpr(layer.apply)(params, x))) == is_native


def test_what_is_no_plain_convolution_of_images_stays_stock():
    x = draw([(2, 11, 14, 6)], np.float32)[0]
    settings = (
        {"strides": (2, 1)},
        {"kernel_dilation": 2},
        {"feature_group_count": 2},
        {"input_dilation": 2, "padding": ((1, 1), (1, 1))},
    )
    for setting in settings:
        function = convolution.conv_function(Platform("cpu", native=True))
        ours = nn.Conv(4, (3, 3), conv_general_dilated=function, **setting)
        stock = nn.Conv(4, (3, 3), **setting)
        params = stock.init(jax.random.key(0), x)
        jaxpr = jax.make_jaxpr(ours.apply)(params, x)
        assert "custom_vjp" not in str(jaxpr)
        np.testing.assert_array_equal(ours.apply(params, x), stock.apply(params, x))


def test_the_table_decides_by_the_nearest_shape(monkeypatch):
    rows = {
        "depthwise": (
            formulations.Measured((100, 10), {"stock": 1.0, "products": 2.0}),
            formulations.Measured((10_000, 10), {"stock": 2.0, "products": 1.0}),
        )
    }
    monkeypatch.setattr(formulations, "_rows", lambda platform: rows if platform == "cpu" else {})
    chosen = [
        formulations.choose(Platform("cpu"), "depthwise", (n, 12)) for n in (1, 900, 1100, 10**6)
    ]
    assert chosen == ["stock", "stock", "products", "products"]
    assert formulations.choose(Platform("gpu"), "depthwise", (10**6, 12)) == "stock"
    assert formulations.choose(Platform("cpu"), "max_pool", (3, 2, 10, 10)) == "stock"


def test_the_table_holds_known_operations_with_positive_shapes_and_times():
    for operation, rows in formulations._rows("cpu").items():
        names = formulations.OPERATIONS[operation]
        for row in rows:
            assert len(row.shape) == len(names)
            assert min(row.shape) > 0
            assert formulations.STOCK in row.milliseconds
            assert len(row.milliseconds) > 1
            assert min(row.milliseconds.values()) > 0
    assert formulations._rows("cpu").keys() == formulations.OPERATIONS.keys()
