"""What depends on the platform: forms of operations and compiler options, never the numbers."""

import jax
import numpy as np
import pytest
from flax import linen as nn

from benchmarks.step import random_batch
from configs import quickstart, udacity, xception
from jaxdrive import durations
from jaxdrive.models import convolution, first_net, layers, pilotnet, small
from jaxdrive.models import xception as network
from jaxdrive.models.formulations import Platform
from jaxdrive.training import compile_options
from jaxdrive.training.parts import computation, make_init, make_network, spread_step

CONFIGS = {
    "small": quickstart.get_config,
    "pilotnet": lambda: udacity.get_config("pedals"),
    "first_net": lambda: udacity.get_config("first_net"),
    "xception": xception.get_config,
}
BATCH = 4


def config_of(name):
    config = CONFIGS[name]()
    config.batch_size = BATCH
    config.model.dropout = 0.0
    if name == "xception":
        config.data.height = config.data.width = 71
    return config


def parts_of(name, platform):
    """The network, its step spread over the devices, its state and a batch."""
    config = config_of(name)
    fields = durations.resolve(config.to_dict(), 1000.0)
    fields["augment"] = quickstart.get_config().augment.to_dict()
    made = make_network(fields, (config.data.height, config.data.width, 3), platform=platform)
    step = spread_step(fields, made)
    state = made.partition.put_state(make_init(fields, made)())
    return made, step, state, random_batch(config, BATCH)


def lowered_for(platform, name, network_platform):
    made, step, state, batch = parts_of(name, network_platform)
    traced = step.trace(state, made.partition.put_batch(batch))
    return traced.lower(lowering_platforms=(platform,)).as_text()


def plain_layers(monkeypatch):
    """Every layer as Flax and XLA have it."""

    def conv(channels, size, *, stride=1, padding="SAME", platform, **settings):
        return nn.Conv(channels, (size, size), strides=stride, padding=padding, **settings)

    def max_pool(x, *, size, stride, padding="VALID", platform):
        return nn.max_pool(x, (size, size), strides=(stride, stride), padding=padding)

    def depthwise(x, kernel, *, platform):
        return convolution.stock_conv(x, kernel, 1, "SAME", groups=x.shape[-1])

    def pointwise(x, kernel, *, stride, platform):
        return convolution.stock_conv(x, kernel, stride, "SAME")

    for module in (first_net, pilotnet, small, network):
        monkeypatch.setattr(module, "conv", conv)
    for module in (first_net, network):
        monkeypatch.setattr(module, "max_pool", max_pool)
    monkeypatch.setattr(layers, "depthwise", depthwise)
    monkeypatch.setattr(layers, "pointwise", pointwise)


@pytest.mark.parametrize(
    ("name", "platform"), [("small", "tpu"), *((name, "cuda") for name in CONFIGS)]
)
def test_accelerators_get_the_stock_forms(name, platform, monkeypatch):
    ours = lowered_for(platform, name, platform)
    with monkeypatch.context() as context:
        plain_layers(context)
        plain = lowered_for(platform, name, platform)
    assert ours == plain


@pytest.mark.parametrize("name", ["pilotnet", "first_net"])
def test_a_cpu_gets_others(name):
    assert lowered_for("cpu", name, "cpu") != lowered_for("cpu", name, "tpu")


@pytest.mark.parametrize("name", ["small", "pilotnet"])
def test_three_steps_of_adam_agree_between_the_forms(name):
    params = {}
    for platform in ("cpu", "tpu"):
        made, step, state, batch = parts_of(name, platform)
        before = jax.device_get(state.params)
        for _ in range(3):
            state, _ = step(state, made.partition.put_batch(batch))
        params[platform] = jax.device_get(state.params)
    leaves = [jax.tree.leaves(tree) for tree in (before, params["cpu"], params["tpu"])]
    for start, one, other in zip(*leaves, strict=True):
        assert np.linalg.norm(one - other) <= 1e-4 * np.linalg.norm(other)
        assert np.linalg.norm(other - start) > 0


def test_an_option_that_the_compiler_does_not_know_is_left_out(monkeypatch, caplog):
    options = {"xla_cpu_enable_fast_math": False, "xla_cpu_no_such_option": 1}
    monkeypatch.setattr(compile_options, "_OPTIONS", {"cpu": options})
    assert compile_options.compile_options("cpu") == {"xla_cpu_enable_fast_math": False}
    assert "does not know the option xla_cpu_no_such_option" in caplog.text


def test_the_installed_compiler_knows_all_options():
    blocks = compile_options._BLOCKS["cpu"]
    every = compile_options.compile_options("cpu", feature_bytes=10**9)
    assert every == compile_options._OPTIONS["cpu"] | blocks
    assert compile_options.compile_options("tpu", feature_bytes=10**9) == {}


def temporary_bytes(name, **settings):
    config = CONFIGS[name]()
    config.update(settings)
    fields = durations.resolve(config.to_dict(), 1000.0)
    made = make_network(fields, (config.data.height, config.data.width, 3))
    step = spread_step(fields, made)
    state = made.partition.put_state(make_init(fields, made)())
    batch = random_batch(config, config.batch_size)
    for head, part in batch.items():
        part["mirrored"] = {head: part["labels"][head]}
    compiled = step.lower(state, made.partition.put_batch(batch)).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_separate_passes_take_the_memory_of_one_pass():
    separate = temporary_bytes("pilotnet", passes="separate")
    assert separate < 0.5 * temporary_bytes("pilotnet", passes="one")


def test_a_checkpoint_says_how_it_was_computed():
    on_cpu, on_tpu = computation(Platform("cpu")), computation(Platform("tpu"))
    assert on_cpu["platform"] == "cpu"
    assert len(on_cpu["table"]) == 16
    assert on_cpu["compiler_options"] == compile_options.compile_options("cpu")
    assert on_tpu == {"platform": "tpu", "table": None, "native": None, "compiler_options": {}}
