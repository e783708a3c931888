"""bfloat16 inside the backbone, float32 around it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from configs import quickstart, xception
from jaxdrive.errors import UserError
from jaxdrive.heads import heads_from_config
from jaxdrive.models.multihead import BACKBONES, BATCH_NORMALISED, make_model
from jaxdrive.training import parallel
from jaxdrive.training.state import initializer
from jaxdrive.training.step import DATA_AXIS, make_train_step

SIZE = (72, 75)
ROWS = 4
HEADS = heads_from_config(quickstart.get_config().heads.to_dict())


@pytest.fixture(autouse=True)
def _strict_dtypes():
    with jax.numpy_dtype_promotion("strict"):
        yield


def model_of(backbone: str, dtype: str, *, sync: bool = True):
    config = xception.get_config().model.to_dict()
    config |= {"backbone": backbone, "compute_dtype": dtype, "common": (16,), "head": ()}
    config |= {"channels": (8, 8)}
    config["batch_norm"] |= {"use": BATCH_NORMALISED.get(backbone, True), "sync": sync}
    return make_model(config, list(HEADS), axis_name=DATA_AXIS, platform="cpu")


def fresh_state(model, optimizer):
    init = initializer(model, optimizer, seed=0, image_shape=(*SIZE, 3), scalars=["speed"])
    return jax.eval_shape(init)


def batch_of(rows: int, size: tuple[int, int] = SIZE):
    generator = np.random.default_rng(0)
    return {
        name: {
            "inputs": {
                "image": generator.integers(0, 256, (rows, *size, 3), np.uint8),
                "speed": generator.random(rows, np.float32),
            },
            "labels": {name: generator.random(rows, np.float32)},
            "mask": np.ones(rows, bool),
        }
        for name in HEADS
    }


def dtypes_of(tree) -> set[np.dtype]:
    leaves = jax.tree.leaves(tree)
    return {leaf.dtype for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_only_what_the_backbone_computes_is_bfloat16(backbone):
    model, optimizer = model_of(backbone, "bfloat16"), optax.sgd(0.1, momentum=0.9)
    step = parallel.make_partition("shard_map").spread_train(
        make_train_step(model, HEADS, optimizer, supervise="own", passes="one")
    )
    inside, outside = {}, {}

    def note(call, arguments, named, context):
        output = call(*arguments, **named)
        if context.method_name == "__call__":
            path = context.module.path
            (inside if path[:1] == ("backbone",) else outside)[path] = dtypes_of(output)
        return output

    with nn.intercept_methods(note):
        state, metrics = jax.eval_shape(step, fresh_state(model, optimizer), batch_of(4 * ROWS))
    assert len(inside) > 3
    assert set.union(*inside.values()) == {jnp.dtype(jnp.bfloat16)}
    assert set.union(*outside.values()) == {np.dtype(np.float32)}
    assert bool(state.batch_stats) == (BATCH_NORMALISED.get(backbone, True))
    for tree in (state.params, state.opt_state, metrics):
        assert dtypes_of(tree) == {np.dtype(np.float32)}
    assert dtypes_of(state.batch_stats) <= {np.dtype(np.float32)}


def test_gradients_and_statistics_in_bfloat16_are_close_to_those_in_float32():
    part, generator = batch_of(ROWS, (20, 23))["steering"], np.random.default_rng(1)
    model = model_of("small", "float32", sync=False)
    shapes = jax.eval_shape(
        lambda key, inputs: model.init(key, inputs, train=False), jax.random.key(0), part["inputs"]
    )
    params = jax.tree.map(
        lambda leaf: generator.normal(0, 0.3, leaf.shape).astype(np.float32), shapes["params"]
    )
    statistics = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes["batch_stats"])

    def gradient_of(model):
        def loss(params):
            out, updated = model.apply(
                {"params": params, "batch_stats": statistics},
                part["inputs"],
                train=True,
                mutable=["batch_stats"],
            )
            return optax.squared_error(out["steering"], part["labels"]["steering"]).mean(), updated

        return jax.jit(jax.grad(loss, has_aux=True))(params)

    exact, rounded = (
        gradient_of(model_of("small", dtype, sync=False)) for dtype in ("float32", "bfloat16")
    )
    assert dtypes_of(rounded) == {np.dtype(np.float32)}
    errors = [
        float(optax.tree.norm(a - b) / (optax.tree.norm(a) + 1e-9))
        for a, b in zip(jax.tree.leaves(exact), jax.tree.leaves(rounded), strict=True)
    ]
    # Eight bits of a mantissa, through three layers and back.
    assert 0 < max(errors) < 0.2


def test_an_unknown_dtype_is_refused():
    with pytest.raises(UserError, match=r"config\.model\.compute_dtype='float16'.*bfloat16"):
        model_of("small", "float16")
