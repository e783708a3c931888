"""How the heads pull at what they share: the size of each one's gradient there, and the angles.

Where two heads' gradients point apart (a cosine below 0), what helps one harms the other; where one
is far longer than the others, it alone shapes the common part (compare T. Yu et al., "Gradient
surgery for multi-task learning", 2020). Taken at the parameters of the common dense layers; a
network without any has no such place.

Only what stands above the backbone is differentiated, so a measurement costs a forward pass and
little more. The train step is left as it is, and this file touches no disk and no clock either.
"""

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdrive.heads import Head
from jaxdrive.models.multihead import MultiHead
from jaxdrive.training.state import TrainState
from jaxdrive.training.step import (
    DATA_AXIS,
    Batch,
    changed,
    counts_of,
    head_loss,
    stack,
    with_dropout_keys,
)


def make_gradients(
    model: MultiHead,
    heads: Mapping[str, Head],
    *,
    supervise: str,
    augment: Callable[..., Batch] | None = None,
    seed: int = 0,
) -> Callable[[TrainState, Batch], jax.Array] | None:
    """Builds the measurement of one device, under the axis `DATA_AXIS`.

    Args:
      model: The network.
      heads: By name, in the order in which their batches pass.
      supervise: "own" or "all", as the train step has it.
      augment: The train step's random changes; None leaves batches as they are.
      seed: The run's seed, for what dropout drops.

    Returns:
      gradients(state, batch) -> the dot products of all pairs of heads' gradients, [heads, heads],
      those of the weighted losses which the train step would sum for this state and batch; the same
      on every device. None where the network has no common layers.
    """
    if not model.common:
        return None

    def gradients(state: TrainState, batch: Batch) -> jax.Array:
        batch = with_dropout_keys(model, seed, state, changed(augment, state, batch))
        counts = counts_of(batch, heads, supervise)
        stacked = stack(batch, heads, supervise)

        def losses(common: Any) -> jax.Array:
            outputs, _ = model.apply(
                {"params": {**state.params, **common}, "batch_stats": state.batch_stats},
                stacked.inputs,
                train=True,
                groups=len(heads),
                rows=stacked.rows,
                dropout_keys=stacked.dropout_keys,
                mutable=["batch_stats"],
            )
            labels, masks = stacked.labels, stacked.masks
            return jnp.stack(
                [
                    head_loss(head, outputs[name], labels[name], masks[name], counts[name])
                    for name, head in heads.items()
                ]
            )

        common = {name: p for name, p in state.params.items() if name.startswith("common_")}
        pulls = jax.lax.psum(jax.jacrev(losses)(common), DATA_AXIS)
        return functools.reduce(jnp.add, map(_products, jax.tree.leaves(pulls)))

    return gradients


def _products(pulls: jax.Array) -> jax.Array:
    flat = pulls.reshape(len(pulls), -1)
    # Accelerators round the factors of a matrix product unless told not to.
    return jnp.matmul(flat, flat.T, precision=jax.lax.Precision.HIGHEST)


def gradient_line(heads: Mapping[str, Head], products: np.ndarray) -> dict[str, float | None]:
    """What is logged of the dot products [heads, heads] of the heads' gradients.

    Returns:
      "train/HEAD/common_gradient_norm", and "train/gradient_cosine_HEAD_OTHER" for every pair in
      the order of the heads; None where a gradient is zero and points nowhere.
    """
    products = np.asarray(products, np.float64)
    norms = dict(zip(heads, np.sqrt(np.diag(products)).tolist(), strict=True))
    line: dict[str, float | None] = {
        f"train/{name}/common_gradient_norm": norm for name, norm in norms.items()
    }
    for (i, one), (j, other) in itertools.combinations(enumerate(heads), 2):
        size = norms[one] * norms[other]
        cosine = None if size == 0 else float(products[i, j]) / size
        line[f"train/gradient_cosine_{one}_{other}"] = cosine
    return line
