"""Builds from a configuration what the loop runs: heads, model, optimiser, step, batches, state."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import optax

from jaxdrive.data import balance
from jaxdrive.data.balance_report import report
from jaxdrive.data.dataset import Dataset
from jaxdrive.data.image_reader import ImageReader
from jaxdrive.data.label_functions import learned_labels
from jaxdrive.data.labels import check_names
from jaxdrive.data.loader import Examples, Rows, train_batches
from jaxdrive.data.prepare import remedy
from jaxdrive.data.views import ids_of
from jaxdrive.errors import UserError
from jaxdrive.heads import Head, Shares, heads_from_config
from jaxdrive.models import formulations
from jaxdrive.models.formulations import Platform
from jaxdrive.models.multihead import MultiHead, make_model
from jaxdrive.models.overview import feature_bytes
from jaxdrive.native import library
from jaxdrive.training.augment import active, make_augment
from jaxdrive.training.average import with_average
from jaxdrive.training.bin_shares import bin_shares
from jaxdrive.training.compile_options import compile_options
from jaxdrive.training.gradients import make_gradients
from jaxdrive.training.optim import make_optimizer, make_schedule
from jaxdrive.training.parallel import Partition, check_batch_size, make_partition
from jaxdrive.training.state import TrainState, initializer
from jaxdrive.training.step import DATA_AXIS, make_predict_step, make_train_step
from jaxdrive.training.windowed import check_windows


@dataclasses.dataclass(frozen=True)
class Network:
    """What restoring and predicting need.

    Attributes:
      heads: By name.
      model: The network.
      platform: Where it is computed, and whether with native convolutions.
      partition: How it is spread.
      predict: predict((params, batch_stats), inputs), spread.
      image_shape: (height, width, channels) of its pictures.
      template: Shapes and dtypes of its state, that of an optimiser left out.
    """

    heads: Mapping[str, Head]
    model: MultiHead
    platform: Platform
    partition: Partition
    predict: Callable[..., Any]
    image_shape: tuple[int, int, int]
    template: TrainState


@dataclasses.dataclass(frozen=True)
class Trainer:
    """What training needs beside the network.

    Attributes:
      network: See `Network`.
      train_step: train_step(state, batch), spread.
      gradients: gradients(state, batch) of `gradients.py`, spread; None where there are none.
      init: Makes a fresh state.
      examples: Makes examples of record ids.
      drawn_ids: What there is to draw: the records to train on, or their views.
      plans: By head name, which of these it draws.
      schedule: The learning rate by update.
    """

    network: Network
    train_step: Callable[..., Any]
    gradients: Callable[..., Any] | None
    init: Callable[[], TrainState]
    examples: Examples
    drawn_ids: np.ndarray
    plans: Mapping[str, balance.Plan]
    schedule: optax.Schedule


def make_network(
    config: Mapping[str, Any],
    image_shape: tuple[int, int, int],
    *,
    platform: str | None = None,
    shares: Mapping[str, Shares] | None = None,
) -> Network:
    """The network of a configuration for images of one shape (height, width, channels).

    Args:
      config: The whole configuration.
      image_shape: Of its images.
      platform: Where it is computed: "cpu", "gpu", "tpu"; None means on JAX's default devices.
      shares: By head name, those of its bins; needed to train or restore it.
    """
    heads = {
        name: dataclasses.replace(head, shares=(shares or {}).get(name))
        for name, head in heads_from_config(config["heads"]).items()
    }
    outputs = {name: head.outputs for name, head in heads.items()}
    where = _resolve_platform(platform or jax.default_backend(), config["native"])
    model = make_model(
        config["model"],
        list(heads),
        axis_name=DATA_AXIS,
        platform=where.name,
        native=where.native,
        outputs=outputs,
    )
    partition = make_partition(config["partition"])
    predict = partition.spread_predict(make_predict_step(model, heads))
    init = _initializer(config, model, optax.identity(), image_shape)
    template = jax.eval_shape(init)
    return Network(heads, model, where, partition, predict, image_shape, template)


def _resolve_platform(name: str, native: str) -> Platform:
    """A platform with its native convolutions loaded, if `config.native` asks for them."""
    return Platform(name, native=name == "cpu" and native == "auto" and library.load() is not None)


def _initializer(
    config: Mapping[str, Any],
    model: MultiHead,
    optimizer: optax.GradientTransformation,
    image_shape: tuple[int, int, int],
) -> Callable[[], TrainState]:
    return initializer(
        model,
        optimizer,
        seed=config["seed"],
        image_shape=image_shape,
        scalars=sorted(config["scalars"]),
        averaged=bool(config["optim"]["ema"]),
    )


def make_init(config: Mapping[str, Any], network: Network) -> Callable[[], TrainState]:
    """A function that makes the fresh state of a run; `config` has its durations in steps."""
    return _initializer(config, network.model, _optimizer(config), network.image_shape)


def _optimizer(config: Mapping[str, Any]) -> optax.GradientTransformation:
    return make_optimizer(config["optim"], make_schedule(config["optim"], config["num_steps"]))


def make_examples(
    config: Mapping[str, Any], dataset: Dataset, heads: Mapping[str, Head]
) -> Examples:
    """Examples of a dataset for a configuration.

    Raises:
      UserError: The dataset does not have a scalar input or a head's label, or its pictures are of
        another shape than the configuration's.
    """
    check_names(config, heads, dataset.labels, where=f"the dataset in {dataset.path}")
    shape = (config["data"]["height"], config["data"]["width"])
    if dataset.image_shape[:2] != shape:
        raise UserError(
            f"the dataset in {dataset.path} has pictures of {dataset.image_shape[:2]}, the"
            f" configuration of {shape} (config.data.height, width): prepare it for this size"
        )
    scalars = dict(config["scalars"])
    learned = learned_labels(heads, dataset)
    return Examples(dataset, ImageReader(dataset), heads, learned, scalars)


def make_step(config: Mapping[str, Any], network: Network) -> Callable[..., Any]:
    """The train step of one device; needs no data, so it also checks the settings before any.

    Args:
      config: With its durations in steps.
      network: What it trains.

    Raises:
      UserError: A setting is unknown, or the batch does not divide among the devices.
    """
    check_batch_size(config["batch_size"], "batch_size")
    balance.check_balance(balance.balance_of(config), config["supervise"])
    step = make_train_step(
        network.model,
        network.heads,
        _optimizer(config),
        supervise=supervise_of(config),
        passes=resolve_passes(config["passes"], network.platform.name),
        augment=augment_of(config, network.heads),
        seed=config["seed"],
    )
    decay = config["optim"]["ema"]
    return with_average(step, decay) if decay else step


def spread_step(config: Mapping[str, Any], network: Network) -> Callable[..., Any]:
    """The train step of a configuration on all devices, compiled for the memory that it needs.

    Args:
      config: With its durations in steps.
      network: What it trains.

    Raises:
      UserError: As `make_step`.
    """
    step = make_step(config, network)
    template = network.template
    one_example = feature_bytes(
        network.model,
        {"params": template.params, "batch_stats": template.batch_stats},
        image_shape=network.image_shape,
        scalars=sorted(config["scalars"]),
    )
    separate = resolve_passes(config["passes"], network.platform.name) == "separate"
    rows = config["batch_size"] * (1 if separate else len(network.heads))
    return network.partition.spread_train(step, rows * one_example // jax.device_count())


def augment_of(config: Mapping[str, Any], heads: Mapping[str, Head]) -> Callable[..., Any] | None:
    """The views and random changes of a configuration; None where it asks for none."""
    settings = config["augment"]
    changes = active(settings) or config["views"] != "none"
    return make_augment(settings, heads, seed=config["seed"]) if changes else None


def train_ids(config: Mapping[str, Any], dataset: Dataset) -> np.ndarray:
    """The records to train on, int32, ascending: `data.fraction` of them, drawn by the seed."""
    ids = dataset.ids("train")
    count = max(1, round(config["data"]["fraction"] * len(ids)))
    chosen = np.random.default_rng(config["seed"]).permutation(ids)[:count]
    return np.sort(chosen)


def drawn_ids(config: Mapping[str, Any], dataset: Dataset) -> np.ndarray:
    """What there is to draw, int32: the records to train on, or with `config.views` their views."""
    return ids_of(train_ids(config, dataset), views=config["views"])


def steps_per_epoch(config: Mapping[str, Any], dataset: Dataset) -> float:
    """Steps in which every head draws as many frames, or views, as there are to train on."""
    return len(drawn_ids(config, dataset)) / config["batch_size"]


def make_trainer(config: Mapping[str, Any], dataset: Dataset) -> Trainer:
    """All that the loop runs.

    Args:
      config: With its durations in steps.
      dataset: To train and measure on.

    Raises:
      UserError: Settings and data do not fit together.
    """
    if config["eval_every"] and not len(dataset.driving_ids("validation")):
        raise UserError(
            f"the dataset in {dataset.path} has no validation frames:"
            f" {remedy(config['data'], 'validation')}, or switch measuring off with"
            " --config.eval_every=0"
        )
    heads = heads_from_config(config["heads"])
    examples = make_examples(config, dataset, heads)
    if config["eval_every"]:
        held_out = dataset.driving_ids("validation")
        check_windows(config["best_by"], heads, dataset, held_out)
    plans, ids = plans_of(config, dataset, heads), drawn_ids(config, dataset)
    shares = bin_shares(config, examples, ids, plans, supervise=supervise_of(config))
    network = make_network(config, dataset.image_shape, shares=shares)
    schedule = make_schedule(config["optim"], config["num_steps"])
    gradients = make_gradients(
        network.model,
        network.heads,
        supervise=supervise_of(config),
        augment=augment_of(config, network.heads),
        seed=config["seed"],
    )
    return Trainer(
        network=network,
        train_step=spread_step(config, network),
        gradients=gradients and network.partition.spread_measure(gradients),
        init=make_init(config, network),
        examples=examples,
        drawn_ids=ids,
        plans=plans,
        schedule=schedule,
    )


def plans_of(
    config: Mapping[str, Any], dataset: Dataset, heads: Mapping[str, Head]
) -> dict[str, balance.Plan]:
    """By head name, which records or views of a dataset it draws under a configuration."""
    return balance.make_plans(
        heads,
        learned_labels(heads, dataset),
        dataset.cameras,
        drawn_ids(config, dataset),
        balance=balance.balance_of(config),
        seed=config["seed"],
        batch_size=config["batch_size"],
        views=config["views"],
    )


def supervise_of(config: Mapping[str, Any]) -> str:
    """Whether a head learns from its "own" batch or from "all", as the configuration means it."""
    return balance.resolve_supervise(config["balance"], config["supervise"])


def balance_report(
    config: Mapping[str, Any], examples: Examples, plans: Mapping[str, balance.Plan]
) -> dict[str, Any]:
    """What the plans of a configuration make of a dataset, see `data/balance_report.py`."""
    return report(
        examples.heads,
        examples.learned,
        examples.dataset.cameras,
        drawn_ids(config, examples.dataset),
        plans,
        balance=balance.balance_of(config),
        supervise=supervise_of(config),
        views=config["views"],
    )


def resolve_passes(passes: str, platform: str) -> str:
    """What "auto" means on a platform: see docs/decisions.md for the measurement."""
    if passes != "auto":
        return passes
    return "separate" if platform == "cpu" else "one"


def computation(platform: Platform) -> dict[str, Any]:
    """What decides the last bits of the numbers beside settings and versions."""
    return {
        **formulations.describe(platform),
        "native": library.load() if platform.native else None,
        "compiler_options": compile_options(platform.name),
    }


def batches_from(trainer: Trainer, config: Mapping[str, Any], position: int) -> Iterator[Any]:
    """This process's rows of the batches from `position` on."""
    return train_batches(
        trainer.examples,
        trainer.plans,
        supervise=supervise_of(config),
        views=config["views"],
        position=position,
        rows=Rows(jax.process_index(), jax.process_count()),
        threads=config["loader"]["threads"],
        prefetch=config["loader"]["prefetch"],
    )
