"""Builds from a configuration what the loop runs: heads, model, optimiser, step, batches, state."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import optax

from jaxdrive.data import balance
from jaxdrive.data.dataset import Dataset, ImageReader
from jaxdrive.data.loader import Examples, Rows, train_batches
from jaxdrive.errors import UserError
from jaxdrive.heads import Head, heads_from_config
from jaxdrive.models.multihead import MultiHead, make_model
from jaxdrive.training.augment import active, make_augment
from jaxdrive.training.optim import make_optimizer, make_schedule
from jaxdrive.training.parallel import Partition, check_batch_size, make_partition
from jaxdrive.training.state import TrainState, initializer
from jaxdrive.training.step import DATA_AXIS, make_predict_step, make_train_step


@dataclasses.dataclass(frozen=True)
class Network:
    """What restoring and predicting need.

    Attributes:
      heads: By name.
      model: The network.
      partition: How it is spread.
      predict: predict((params, batch_stats), inputs), spread.
      init: Makes a fresh state.
      template: Its shapes and dtypes.
    """

    heads: Mapping[str, Head]
    model: MultiHead
    partition: Partition
    predict: Callable[..., Any]
    init: Callable[[], TrainState]
    template: TrainState


@dataclasses.dataclass(frozen=True)
class Trainer:
    """What training needs beside the network.

    Attributes:
      network: See `Network`.
      train_step: train_step(state, batch), spread.
      examples: Makes examples of record ids.
      plans: By head name, which records it draws.
      schedule: The learning rate by update.
    """

    network: Network
    train_step: Callable[..., Any]
    examples: Examples
    plans: Mapping[str, balance.Plan]
    schedule: optax.Schedule


def make_network(config: Mapping[str, Any], image_shape: tuple[int, int, int]) -> Network:
    """The network of a configuration for pictures of one shape (height, width, channels)."""
    heads = heads_from_config(config["heads"])
    model = make_model(config["model"], list(heads), axis_name=DATA_AXIS)
    partition = make_partition(config["partition"])
    schedule = make_schedule(config["optim"], config["num_steps"])
    init = initializer(
        model,
        make_optimizer(schedule),
        seed=config["seed"],
        image_shape=image_shape,
        scalars=sorted(config["scalars"]),
    )
    predict = partition.spread_predict(make_predict_step(model))
    return Network(heads, model, partition, predict, init, jax.eval_shape(init))


def make_examples(
    config: Mapping[str, Any], dataset: Dataset, heads: Mapping[str, Head]
) -> Examples:
    """Examples of a dataset for a configuration.

    Raises:
      UserError: The dataset does not have a scalar input or a head's label, or its pictures are of
        another shape than the configuration's.
    """
    wanted = {f"config.scalars.{name}": name for name in config["scalars"]}
    wanted |= {f"config.heads.{name}.label": head.label for name, head in heads.items()}
    for field, label in wanted.items():
        if label not in dataset.labels:
            raise UserError(
                f"{field} asks for the label {label!r}, which the dataset in {dataset.path} does"
                f" not have: it has {', '.join(sorted(dataset.labels))}"
            )
    shape = (config["data"]["height"], config["data"]["width"])
    if dataset.image_shape[:2] != shape:
        raise UserError(
            f"the dataset in {dataset.path} has pictures of {dataset.image_shape[:2]}, the"
            f" configuration of {shape} (config.data.height, width): prepare it for this size"
        )
    scalars = dict(config["scalars"])
    return Examples(dataset, ImageReader(dataset), heads, scalars)


def make_step(config: Mapping[str, Any], network: Network) -> Callable[..., Any]:
    """The train step of one device; needs no data, so it also checks the settings before any.

    Raises:
      UserError: A setting is unknown, or the batch does not divide among the devices.
    """
    check_batch_size(config["batch_size"], "batch_size")
    balance.check_mode(config["balance"])
    return make_train_step(
        network.model,
        network.heads,
        make_optimizer(make_schedule(config["optim"], config["num_steps"])),
        supervise=config["supervise"],
        passes=resolve_passes(config["passes"]),
        augment=_augment_of(config, network.heads),
    )


def _augment_of(config: Mapping[str, Any], heads: Mapping[str, Head]) -> Callable[..., Any] | None:
    settings = config["augment"]
    return make_augment(settings, heads, seed=config["seed"]) if active(settings) else None


def make_trainer(config: Mapping[str, Any], dataset: Dataset) -> Trainer:
    """All that the loop runs.

    Raises:
      UserError: Settings and data do not fit together.
    """
    if config["eval_every"] and not len(dataset.driving_ids("validation")):
        raise UserError(
            f"the dataset in {dataset.path} has no validation frames: record some"
            " (config.data.validation_episodes), or switch measuring off with --config.eval_every=0"
        )
    network = make_network(config, dataset.image_shape)
    examples = make_examples(config, dataset, network.heads)
    schedule = make_schedule(config["optim"], config["num_steps"])
    step = make_step(config, network)
    plans = balance.make_plans(
        network.heads,
        dataset.labels,
        dataset.cameras,
        dataset.ids("train"),
        mode=config["balance"],
        seed=config["seed"],
        batch_size=config["batch_size"],
    )
    return Trainer(network, network.partition.spread_train(step), examples, plans, schedule)


def resolve_passes(passes: str) -> str:
    """What "auto" means here: see docs/decisions.md for the measurement."""
    if passes != "auto":
        return passes
    return "separate" if jax.default_backend() == "cpu" else "one"


def batches_from(trainer: Trainer, config: Mapping[str, Any], position: int) -> Iterator[Any]:
    """This process's rows of the batches from `position` on."""
    return train_batches(
        trainer.examples,
        trainer.plans,
        supervise=config["supervise"],
        position=position,
        rows=Rows(jax.process_index(), jax.process_count()),
        threads=config["loader"]["threads"],
        prefetch=config["loader"]["prefetch"],
    )
