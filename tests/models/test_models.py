"""The network's layers against stock ones, and how heads see rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs import quickstart, udacity
from jaxdrive.errors import UserError
from jaxdrive.models.layers import BatchNorm
from jaxdrive.models.multihead import make_model
from jaxdrive.models.pilotnet import LEAST_SIZE

HEADS = ("brake", "steering", "throttle")


@pytest.fixture(autouse=True)
def _strict_dtypes():
    with jax.numpy_dtype_promotion("strict"):
        yield


def quickstart_model():
    return make_model(
        quickstart.get_config().model.to_dict(), HEADS, axis_name="data", platform="cpu"
    )


def inputs_of(rows: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(rows)
    return {
        "image": generator.integers(0, 256, (rows, 42, 48, 3), np.uint8),
        "speed": generator.random(rows, np.float32),
    }


def test_the_quickstart_s_network_has_the_size_that_is_documented():
    variables = quickstart_model().init(jax.random.key(0), inputs_of(1), train=False)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 178_275
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}


def pilotnet(height: int, width: int, **changes):
    model = make_model(
        udacity.get_config().model.to_dict() | changes,
        ["steering"],
        axis_name="data",
        platform="cpu",
    )
    image = np.zeros((1, height, width, 3), np.uint8)
    return jax.eval_shape(lambda: model.init(jax.random.key(0), {"image": image}, train=False))


def test_pilotnet_has_the_size_that_was_published():
    params = pilotnet(66, 200)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 252_219
    kernels = [params["backbone"][f"Conv_{index}"]["kernel"].shape for index in range(5)]
    assert kernels == [
        (5, 5, 3, 24),
        (5, 5, 24, 36),
        (5, 5, 36, 48),
        (3, 3, 48, 64),
        (3, 3, 64, 64),
    ]


def test_pilotnet_names_the_least_picture_and_takes_it():
    assert pilotnet(LEAST_SIZE, LEAST_SIZE)["params"]["common_0"]["kernel"].shape == (64, 100)
    for height, width in ((LEAST_SIZE - 1, 200), (66, LEAST_SIZE - 1)):
        with pytest.raises(UserError, match=rf"at least 61x61, found {height}x{width}: raise"):
            pilotnet(height, width)
    with pytest.raises(UserError, match=r"batch_norm\.use=True: pilotnet never has"):
        pilotnet(66, 200, batch_norm={"use": True})


def test_heads_see_the_rows_that_they_are_given():
    model, inputs = quickstart_model(), inputs_of(6)
    variables = model.init(jax.random.key(0), inputs, train=False)
    everything = model.apply(variables, inputs, train=False)
    rows = {"steering": slice(0, 2), "brake": slice(3, 6)}
    some = model.apply(variables, inputs, train=False, rows=rows)
    assert some.keys() == rows.keys()
    for name, part in rows.items():
        np.testing.assert_allclose(some[name], everything[name][part], rtol=1e-5, atol=1e-6)


def test_every_input_matters():
    model, inputs = quickstart_model(), inputs_of(2)
    variables = model.init(jax.random.key(0), inputs, train=False)
    before = model.apply(variables, inputs, train=False)
    for name in inputs:
        changed = inputs | {name: np.roll(inputs[name], 1, axis=0)}
        after = model.apply(variables, changed, train=False)
        assert all((after[head] != before[head]).all() for head in HEADS), name


@pytest.mark.parametrize("groups", [1, 3])
def test_batch_norm_equals_the_stock_layer_group_by_group(groups):
    generator = np.random.default_rng(0)
    x = generator.normal(2, 3, (groups * 4, 5, 6, 7)).astype(np.float32)
    ours = BatchNorm(momentum=0.9, epsilon=1e-3, axis_name=None)
    stock = nn.BatchNorm(momentum=0.9, epsilon=1e-3)
    variables = ours.init(jax.random.key(0), x, train=True)
    params = jax.tree.map(
        lambda a: jnp.asarray(generator.normal(size=a.shape), jnp.float32), variables["params"]
    )
    got, updated = ours.apply(
        {"params": params, "batch_stats": variables["batch_stats"]},
        x,
        train=True,
        groups=groups,
        mutable=["batch_stats"],
    )
    statistics = {"mean": jnp.zeros(7), "var": jnp.ones(7)}
    for group, part in enumerate(np.split(x, groups)):
        want, changed = stock.apply(
            {"params": params, "batch_stats": statistics},
            part,
            use_running_average=False,
            mutable=["batch_stats"],
        )
        statistics = changed["batch_stats"]
        np.testing.assert_allclose(got[group * 4 : (group + 1) * 4], want, rtol=1e-4, atol=1e-5)
    moved = updated["batch_stats"]
    np.testing.assert_allclose(moved["mean"], statistics["mean"], rtol=1e-5)
    np.testing.assert_allclose(moved["variance"], statistics["var"], rtol=1e-4)

    settled = ours.apply({"params": params, "batch_stats": moved}, x, train=False)
    want = stock.apply({"params": params, "batch_stats": statistics}, x, use_running_average=True)
    np.testing.assert_allclose(settled, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("groups", [1, 3])
def test_batch_norm_has_the_gradients_of_the_stock_layer(groups):
    generator = np.random.default_rng(0)
    shape = (groups * 4, 5, 6, 7)
    x, weighing = (generator.normal(2, 3, shape).astype(np.float32) for _ in range(2))
    params = {name: generator.normal(size=7).astype(np.float32) for name in ("scale", "bias")}

    def ours(params, x):
        layer = BatchNorm(momentum=0.9, epsilon=1e-3, axis_name=None)
        statistics = {"mean": jnp.zeros(7), "variance": jnp.ones(7)}
        variables = {"params": params, "batch_stats": statistics}
        y, _ = layer.apply(variables, x, train=True, groups=groups, mutable=["batch_stats"])
        return jnp.sum(y * weighing)

    def stock(params, x):
        layer = nn.BatchNorm(use_running_average=False, epsilon=1e-3)
        total = jnp.float32(0)
        for part, weights in zip(jnp.split(x, groups), np.split(weighing, groups), strict=True):
            y, _ = layer.apply({"params": params}, part, mutable=["batch_stats"])
            total += jnp.sum(y * weights)
        return total

    got, want = (jax.grad(function, (0, 1))(params, x) for function in (ours, stock))
    for name in params:
        np.testing.assert_allclose(got[0][name], want[0][name], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-3, atol=1e-5)


def test_an_unknown_backbone_is_refused():
    config = quickstart.get_config().model.to_dict() | {"backbone": "big"}
    with pytest.raises(
        UserError, match=r"config\.model\.backbone='big'.*small, pilotnet, pilotnet_same"
    ):
        make_model(config, HEADS, axis_name="data", platform="cpu")
