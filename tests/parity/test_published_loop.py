"""Three steps of ours equal three of the published custom loop, written in Keras.

The published system has a helper model for every head: the shared backbone and common part, and
that head. A step runs each on a batch of its own in training mode, so that moving averages move
once per head; it takes the mean squared error's gradient, sums the gradients over the heads, and
lets one optimiser make one update.

Everything is in float64, since three steps of so deep a network amplify rounding.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

keras = pytest.importorskip("keras", reason="Keras is not installed: pip install -e '.[parity]'")

from configs import xception
from jaxdrive.bins import Bins
from jaxdrive.heads import Head
from jaxdrive.models.multihead import make_model
from jaxdrive.training import parallel
from jaxdrive.training.optim import make_optimizer
from jaxdrive.training.state import TrainState
from jaxdrive.training.step import DATA_AXIS, PASSES, make_train_step
from tests.parity.reference import carried, computing_in, published_xception, randomise

HEADS = {
    name: Head(name, name, 1.0, low, 1.0, Bins((low, 0.5, 1.0)), "")
    for name, low in (("brake", 0.0), ("steering", -1.0), ("throttle", 0.0))
}
ROWS, SIZE, STEPS = 2, 71, 3
# Adam's is the published learning rate; SGD has a momentum of 0.9.
RATES = {"sgd": 1e-2, "adam": 1e-3}
MODEL = xception.get_config().model.to_dict()


@pytest.fixture(autouse=True)
def _double_precision():
    with computing_in("float64"):
        yield


def batches() -> list[dict]:
    generator = np.random.default_rng(3)

    def rows(head):
        return {
            "inputs": {"image": generator.integers(0, 256, (ROWS, SIZE, SIZE, 3), np.uint8)},
            "labels": {head: generator.uniform(-1, 1, ROWS).astype(np.float32)},
            "record": np.arange(ROWS, dtype=np.int32),
            "mask": np.ones(ROWS, bool),
        }

    return [{head: rows(head) for head in HEADS} for _ in range(STEPS)]


class PublishedLoop:
    """The helper models on one trunk, and what computes their gradients."""

    def __init__(self):
        pictures = keras.Input((SIZE, SIZE, 3))
        common = published_xception()(pictures)
        for index, width in enumerate(MODEL["common"]):
            common = keras.layers.Dense(width, "relu", name=f"common_{index}")(common)
        outputs = {}
        for head in HEADS:
            x = common
            for index, width in enumerate(MODEL["head"]):
                x = keras.layers.Dense(width, "relu", name=f"{head}_{index}")(x)
            outputs[head] = keras.layers.Dense(1, name=f"{head}_output")(x)
        self.whole = keras.Model(pictures, list(outputs.values()))
        self.helpers = {head: keras.Model(pictures, output) for head, output in outputs.items()}
        # All helpers have one form, which is compiled once: only their variables differ.
        form = self.helpers["brake"]

        def loss(trainable, other, pictures, labels):
            outputs, moved = form.stateless_call(trainable, other, pictures, training=True)
            return jnp.mean(keras.losses.mean_squared_error(labels, outputs)), moved

        self._gradient = jax.jit(jax.grad(loss, has_aux=True))

    def step(self, batch, update):
        """One update; `update` maps gradients to the whole model's new trainable variables."""
        total = {}
        for head, helper in self.helpers.items():
            pictures = batch[head]["inputs"]["image"].astype(np.float64)
            gradients, moved = self._gradient(
                [variable.value for variable in helper.trainable_variables],
                [variable.value for variable in helper.non_trainable_variables],
                keras.applications.xception.preprocess_input(pictures),
                batch[head]["labels"][head].astype(np.float64)[:, None],
            )
            for variable, value in zip(helper.non_trainable_variables, moved, strict=True):
                variable.assign(value)
            for variable, gradient in zip(helper.trainable_variables, gradients, strict=True):
                total[id(variable)] = total.get(id(variable), 0) + gradient
        variables = self.whole.trainable_variables
        for variable, value in zip(
            variables, update([total[id(variable)] for variable in variables]), strict=True
        ):
            variable.assign(value)


@pytest.fixture(scope="module")
def loop():
    with computing_in("float64"):
        yield PublishedLoop()


def our_model():
    return make_model(MODEL, list(HEADS), axis_name=DATA_AXIS, platform="cpu")


def variables_of(loop, folder):
    """The variables of the published network, by our names."""
    inputs = {"image": jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.uint8)}
    shapes = jax.eval_shape(
        lambda key, x: our_model().init(key, x, train=False), jax.random.key(0), inputs
    )
    template = jax.tree.map(lambda leaf: np.zeros(leaf.shape), shapes)
    return carried(loop.whole, template, folder, part="all")


def keras_update(loop, name):
    """Keras's optimiser as a function of gradients, which keeps its own state."""
    if name == "sgd":
        optimizer = keras.optimizers.SGD(RATES[name], momentum=0.9)
    else:
        optimizer = keras.optimizers.Adam(RATES[name], beta_1=0.9, beta_2=0.999)
    variables = loop.whole.trainable_variables
    optimizer.build(variables)

    @jax.jit
    def apply(kept, gradients, trainable, epsilon):
        optimizer.epsilon = epsilon
        return optimizer.stateless_apply(kept, gradients, trainable)

    kept = [variable.value for variable in optimizer.variables]
    for number in range(1, STEPS + 1):
        # Optax adds 1e-8 to the root of the unbiased second moment, as the paper does; Keras adds
        # its epsilon to the root of the biased one, which is smaller by this factor.
        epsilon = 1e-8 * np.sqrt(1 - 0.999**number)

        def update(gradients, epsilon=epsilon):
            nonlocal kept
            trainable = [variable.value for variable in variables]
            trainable, kept = apply(kept, gradients, trainable, epsilon)
            return trainable

        yield update


def published(loop, name, folder):
    """The variables before and after the published loop."""
    randomise(loop.whole, seed=1)
    start = variables_of(loop, folder)
    for batch, update in zip(batches(), keras_update(loop, name), strict=True):
        loop.step(batch, update)
    return start, variables_of(loop, folder)


def either_optimizer() -> optax.GradientTransformation:
    """SGD and Adam in one, so that the step is compiled once for both: the state says which."""
    optimizers = {
        name: make_optimizer(
            {"name": name, "momentum": 0.9, "clip_norm": 0.0, "weight_decay": 0.0},
            optax.constant_schedule(rate),
        )
        for name, rate in RATES.items()
    }

    def init(params):
        states = {name: optimizer.init(params) for name, optimizer in optimizers.items()}
        return states | {"use_adam": jnp.zeros((), bool)}

    def update(gradients, state, params):
        updates, states = {}, {}
        for name, optimizer in optimizers.items():
            updates[name], states[name] = optimizer.update(gradients, state[name], params)
        chosen = jax.tree.map(
            lambda sgd, adam: jnp.where(state["use_adam"], adam, sgd),
            updates["sgd"],
            updates["adam"],
        )
        return chosen, states | {"use_adam": state["use_adam"]}

    return optax.GradientTransformation(init, update)


@pytest.fixture(scope="module", params=PASSES)
def our_step(request):
    """The train step of one device, spread over one."""
    step = make_train_step(
        our_model(), HEADS, either_optimizer(), supervise="own", passes=request.param
    )
    partition = parallel._shard_map(Mesh(np.asarray(jax.devices()[:1]), (DATA_AXIS,)))
    return partition, partition.spread_train(step)


def ours(our_step, start, name) -> TrainState:
    """The state after our steps."""
    partition, step = our_step
    opt_state = either_optimizer().init(start["params"]) | {"use_adam": np.asarray(name == "adam")}
    counter = np.zeros((), np.int32)
    state = TrainState(counter, counter, start["params"], start["batch_stats"], opt_state)
    state = partition.put_state(state)
    for batch in batches():
        state, _ = step(state, partition.put_batch(batch))
    return jax.device_get(partition.get_state(state))


@pytest.fixture(scope="module")
def published_runs(loop, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    with computing_in("float64"):
        yield {name: published(loop, name, folder) for name in RATES}


@pytest.mark.parametrize("name", RATES)
def test_three_steps_equal_the_published_loop(name, our_step, published_runs):
    start, want = published_runs[name]
    got = ours(our_step, start, name)
    got = {field.name: getattr(got, field.name) for field in dataclasses.fields(got)}
    for kind in ("params", "batch_stats"):
        leaves = zip(*(jax.tree.leaves(tree[kind]) for tree in (got, want, start)), strict=True)
        for a, b, origin in leaves:
            update = np.linalg.norm(b - origin)
            assert update > 0
            assert np.linalg.norm(a - b) <= 1e-9 * update
