"""The train step and the prediction step: pure functions, written for one device.

Every head learns from its own batch; the heads' gradients are summed and applied at once. The
functions here run on each device with its own rows under the axis `DATA_AXIS`; how they are spread
stands in `parallel.py`. Nothing here reads a disk or a clock.

Two modes give the same numbers:
  one: the heads' batches are stacked and the backbone runs once; each head sees its own slice.
  separate: one pass after the other, their gradients added up. It takes the memory of one pass.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from jaxdrive.errors import UserError
from jaxdrive.heads import Head
from jaxdrive.models.multihead import MultiHead
from jaxdrive.training import randomness
from jaxdrive.training.losses import decode, example_losses
from jaxdrive.training.metrics import HeadMetrics
from jaxdrive.training.scopes import ALL, LOSS, METRICS, OPTIMIZER, PASS, SUM, scope
from jaxdrive.training.state import TrainState

DATA_AXIS = "data"
SUPERVISE = ("own", "all")
PASSES = ("one", "separate")

Batch = Mapping[str, Mapping[str, Any]]
Metrics = dict[str, Any]


def make_train_step(
    model: MultiHead,
    heads: Mapping[str, Head],
    optimizer: optax.GradientTransformation,
    *,
    supervise: str,
    passes: str,
    augment: Callable[..., Batch] | None = None,
    seed: int = 0,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Builds the step of one device.

    Each head's loss is its mean over the rows that it sees on all devices: its own batch (supervise
    "own"), or all heads' batches ("all"). The sum of the heads' losses, each times the head's
    weight, is differentiated. An update whose gradient is not finite is skipped: only `position`
    moves on.

    Args:
      model: The network.
      heads: By name, in the order in which their batches pass.
      optimizer: Applied to the summed gradient.
      supervise: One of `SUPERVISE`.
      passes: One of `PASSES`.
      augment: Changes batches at random, from `augment.make_augment`; None leaves them as they are.
      seed: The run's seed, for what dropout drops.

    Returns:
      train_step(state, batch) -> (state, metrics); metrics hold per head a `HeadMetrics`, and
      "gradient_norm" and "skipped" as scalars, the same on every device.

    Raises:
      UserError: A mode is unknown.
    """
    for name, value, known in (("supervise", supervise, SUPERVISE), ("passes", passes, PASSES)):
        if value not in known:
            raise UserError(f"config.{name}={value!r} is not known: one of {', '.join(known)}")
    gradients_of = _one_pass if passes == "one" else _separate_passes

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        batch = with_dropout_keys(model, seed, state, changed(augment, state, batch))
        counts = counts_of(batch, heads, supervise)
        gradients, batch_stats, metrics = gradients_of(
            model, heads, state, batch, counts, supervise
        )
        with scope(SUM):
            gradients, metrics = jax.lax.psum((gradients, metrics), DATA_AXIS)
            batch_stats = _mean_over_devices(batch_stats)
        with scope(OPTIMIZER):
            norm = optax.tree.norm(gradients)
            updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
            updated = dataclasses.replace(
                state,
                step=state.step + 1,
                position=state.position + 1,
                params=optax.apply_updates(state.params, updates),
                batch_stats=batch_stats,
                opt_state=opt_state,
            )
            finite = jnp.isfinite(norm)
            skipped = dataclasses.replace(state, position=state.position + 1)
            state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), updated, skipped)
        return state, {"heads": metrics, "gradient_norm": norm, "skipped": ~finite}

    return train_step


def make_predict_step(
    model: nn.Module, heads: Mapping[str, Head]
) -> Callable[[Any, Any], dict[str, jax.Array]]:
    """Builds predict((params, batch_stats), inputs) -> {head: predictions [b]}, on one device.

    Predictions are decoded: in the range of the head's target, whatever its kind.
    """

    def predict(variables: tuple[Any, Any], inputs: Any) -> dict[str, jax.Array]:
        params, batch_stats = variables
        trained = {"params": params, "batch_stats": batch_stats}
        outputs: dict[str, jax.Array] = model.apply(trained, inputs, train=False)  # type: ignore[assignment]
        return {name: decode(heads[name], values) for name, values in outputs.items()}

    return predict


def changed(augment: Callable[..., Batch] | None, state: TrainState, batch: Batch) -> Batch:
    """This device's rows as the step of `state` sees them, after its random changes."""
    if augment is None:
        return batch
    first_row = _rows_of(batch)[0]
    return augment(batch, position=state.position, step=state.step, first_row=first_row)


def with_dropout_keys(model: MultiHead, seed: int, state: TrainState, batch: Batch) -> Batch:
    """The batch, and by head "dropout_keys" of this device's rows [b] where the network drops."""
    if not model.dropout:
        return batch
    rows = _rows_of(batch)
    return {
        name: {
            **batch[name],
            "dropout_keys": randomness.dropout_keys(
                seed=seed, position=state.position, head=k, rows=rows
            ),
        }
        for k, name in enumerate(model.heads)
    }


def _rows_of(batch: Batch) -> jax.Array:
    """The rows of the global batch that this device has, int32 [b]."""
    rows = len(next(iter(batch.values()))["mask"])
    return jax.lax.axis_index(DATA_AXIS) * rows + jnp.arange(rows, dtype=jnp.int32)


def counts_of(batch: Batch, heads: Mapping[str, Head], supervise: str) -> dict[str, jax.Array]:
    """By head, the rows that it sees over all devices."""
    own = {name: batch[name]["mask"].sum().astype(jnp.float32) for name in heads}
    with scope(SUM):
        own = jax.lax.psum(own, DATA_AXIS)
    return own if supervise == "own" else dict.fromkeys(heads, sum(own.values()))


def _mean_over_devices(batch_stats: Any) -> Any:
    # Synchronised statistics are equal already; without synchronisation each device has its own,
    # and a checkpoint keeps one set.
    return jax.lax.pmean(batch_stats, DATA_AXIS)


def _loss(
    model: nn.Module,
    heads: Mapping[str, Head],
    params: Any,
    batch_stats: Any,
    inputs: Any,
    labels: Mapping[str, jax.Array],
    masks: Mapping[str, jax.Array],
    rows: Mapping[str, slice],
    counts: Mapping[str, jax.Array],
    groups: int,
    dropout_keys: jax.Array | None,
) -> tuple[jax.Array, tuple[Any, dict[str, HeadMetrics]]]:
    """This device's part of the loss of the heads in `rows`, with new statistics and metrics."""
    outputs, updates = model.apply(
        {"params": params, "batch_stats": batch_stats},
        inputs,
        train=True,
        groups=groups,
        rows=rows,
        dropout_keys=dropout_keys,
        mutable=["batch_stats"],
    )
    loss = jnp.zeros((), next(iter(outputs.values())).dtype)
    metrics = {}
    for name in rows:
        with scope(LOSS, name):
            loss += head_loss(heads[name], outputs[name], labels[name], masks[name], counts[name])
        with scope(METRICS, name):
            metrics[name] = HeadMetrics.from_outputs(
                heads[name], jax.lax.stop_gradient(outputs[name]), labels[name], masks[name]
            )
    return loss, (updates.get("batch_stats", {}), metrics)


def head_loss(
    head: Head, outputs: jax.Array, labels: jax.Array, mask: jax.Array, count: jax.Array
) -> jax.Array:
    """This device's part of one head's weighted loss, of which all devices have `count` rows."""
    costs = example_losses(head, outputs, labels)
    # A batch of which no row counts has a loss and a gradient of 0.
    shares = mask.astype(costs.dtype) / jnp.maximum(count, 1).astype(costs.dtype)
    return head.weight * (costs * shares).sum()


@dataclasses.dataclass(frozen=True)
class Stacked:
    """All heads' batches one after the other.

    Attributes:
      inputs: By name, each [heads * b, ...].
      rows: By head, which of these rows it sees.
      labels: By head, its targets for them.
      masks: By head, which of them count.
      dropout_keys: Of every row, [heads * b]; None where nothing is dropped.
    """

    inputs: Any
    rows: Mapping[str, slice]
    labels: Mapping[str, jax.Array]
    masks: Mapping[str, jax.Array]
    dropout_keys: jax.Array | None


def stack(batch: Batch, heads: Mapping[str, Head], supervise: str) -> Stacked:
    """Stacks the batches of all heads for one pass."""
    parts = [batch[name] for name in heads]
    inputs = jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *[p["inputs"] for p in parts])
    keys = [part["dropout_keys"] for part in parts if "dropout_keys" in part]
    stacked_keys = jnp.concatenate(keys) if keys else None
    if supervise == "own":
        size = len(parts[0]["mask"])
        return Stacked(
            inputs,
            rows={name: slice(k * size, (k + 1) * size) for k, name in enumerate(heads)},
            labels={name: batch[name]["labels"][name] for name in heads},
            masks={name: batch[name]["mask"] for name in heads},
            dropout_keys=stacked_keys,
        )
    return Stacked(
        inputs,
        rows=dict.fromkeys(heads, slice(None)),
        labels={name: jnp.concatenate([p["labels"][name] for p in parts]) for name in heads},
        masks=dict.fromkeys(heads, jnp.concatenate([p["mask"] for p in parts])),
        dropout_keys=stacked_keys,
    )


def _one_pass(
    model: nn.Module,
    heads: Mapping[str, Head],
    state: TrainState,
    batch: Batch,
    counts: Mapping[str, jax.Array],
    supervise: str,
) -> tuple[Any, Any, dict[str, HeadMetrics]]:
    all_of = stack(batch, heads, supervise)

    def loss(params: Any) -> Any:
        return _loss(
            model,
            heads,
            params,
            state.batch_stats,
            all_of.inputs,
            all_of.labels,
            all_of.masks,
            all_of.rows,
            counts,
            len(heads),
            all_of.dropout_keys,
        )

    with scope(PASS, ALL):
        gradients, (batch_stats, metrics) = jax.grad(loss, has_aux=True)(state.params)
    return gradients, batch_stats, metrics


def _after(total: Any, part: Mapping[str, Any]) -> dict[str, Any]:
    """The same batch, which cannot be used before the gradients `total` are there.

    Without it XLA runs the forward passes of all heads first, and keeps what all of them need for
    their backward passes. (A CPU's compiler drops `jax.lax.optimization_barrier`.) Where a gradient
    is not finite, the sum is no 0, but then the whole update is skipped.
    """
    zero = functools.reduce(jnp.add, [0 * leaf.sum() for leaf in jax.tree.leaves(total)])
    image = part["inputs"]["image"]
    image = image + zero.astype(image.dtype)
    return {**part, "inputs": {**part["inputs"], "image": image}}


def _separate_passes(
    model: nn.Module,
    heads: Mapping[str, Head],
    state: TrainState,
    batch: Batch,
    counts: Mapping[str, jax.Array],
    supervise: str,
) -> tuple[Any, Any, dict[str, HeadMetrics]]:
    batch_stats = state.batch_stats
    total: Any = None
    metrics: dict[str, HeadMetrics] = {}
    for name in heads:
        part = batch[name] if total is None else _after(total, batch[name])
        seen = [name] if supervise == "own" else list(heads)
        rows, masks = dict.fromkeys(seen, slice(None)), dict.fromkeys(seen, part["mask"])

        def loss(
            params: Any, stats: Any, part: Any = part, rows: Any = rows, m: Any = masks
        ) -> Any:
            return _loss(
                model,
                heads,
                params,
                stats,
                part["inputs"],
                part["labels"],
                m,
                rows,
                counts,
                1,
                part.get("dropout_keys"),
            )

        with scope(PASS, name):
            gradients, (batch_stats, passed) = jax.grad(loss, has_aux=True)(
                state.params, batch_stats
            )
            total = gradients if total is None else jax.tree.map(jnp.add, total, gradients)
        for head, value in passed.items():
            metrics[head] = metrics[head].merge(value) if head in metrics else value
    return total, batch_stats, metrics
