"""What the outputs of the network mean and what they cost: the one place that knows heads' kinds.

Outputs are what the network gives for a head: the target itself (regression, [n]) or a logit of
every bin (classification, [n, bins]). Everything outside of the step and of this file sees decoded
outputs: predictions in the range of the head's target, [n].
"""

import jax
import jax.numpy as jnp
import optax

from jaxdrive.bins import Bins
from jaxdrive.heads import Head


def decode(head: Head, outputs: jax.Array) -> jax.Array:
    """Predictions in the range of the head's target: [n], of the outputs' dtype.

    Args:
      head: Its kind and, for a classification, its bins and how they are decoded.
      outputs: [n], or logits [n, bins].
    """
    if head.kind == "regression":
        return outputs
    values = jnp.asarray(head.bins.values, outputs.dtype)
    if head.decode == "argmax":
        return values[jnp.argmax(outputs, axis=1)]
    # As a sum: accelerators round the factors of a matrix product.
    return (jax.nn.softmax(outputs, axis=1) * values[None]).sum(axis=1)


def example_losses(head: Head, outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """What every example costs: [n], of the outputs' dtype.

    Regression, e being output - target: e^2 (squared), |e| (absolute), or e^2 / 2 up to delta and
    delta * (|e| - delta / 2) beyond (huber; P. J. Huber, "Robust estimation of a location
    parameter", 1964). Classification: the cross-entropy -log p of the target's bin, in nats.

    Args:
      head: Its kind, loss and bins.
      outputs: [n], or logits [n, bins].
      targets: In the range of the head's target, float32 [n].
    """
    if head.kind == "classification":
        index = bin_index(head.bins, targets)
        return optax.softmax_cross_entropy_with_integer_labels(outputs, index)
    targets = targets.astype(outputs.dtype)
    if head.loss == "huber":
        return optax.huber_loss(outputs, targets, delta=head.delta)
    errors = outputs - targets
    # Unlike that of abs, the gradient of this is 0 where there is no error.
    return errors * jnp.sign(errors) if head.loss == "absolute" else jnp.square(errors)


def bin_index(bins: Bins, targets: jax.Array) -> jax.Array:
    """The bin of every target, as `bins.bin_index` finds it, on a device: integers, same shape.

    Random changes move targets inside the step, so that their bins are only known there.
    """
    # In float32 like there, also where the network computes in another type.
    targets, edges = targets.astype(jnp.float32), jnp.asarray(bins.edges, jnp.float32)
    code = jnp.searchsorted(edges, targets) + jnp.searchsorted(edges, targets, side="right")
    return jnp.asarray(bins.lookup)[code]
