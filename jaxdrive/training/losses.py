"""What the outputs of the network mean and what they cost: the one place that knows heads' kinds.

Outputs are what the network gives for a head: the target itself (regression, [n]) or a logit of
every bin (classification, [n, bins]). Everything outside of the step and of this file sees decoded
outputs: predictions in the range of the head's target, [n].
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdrive.bins import Bins
from jaxdrive.heads import Head


def decode(head: Head, outputs: jax.Array) -> jax.Array:
    """Predictions in the range of the head's target: [n], of the outputs' dtype.

    Args:
      head: Its kind and, for a classification, its bins, how they are decoded, and its prior. For
        the recorded one log(recorded / drawn share) of its bin is added to each logit, which undoes
        how bins were drawn (M. Saerens et al., "Adjusting the outputs of a classifier to new a
        priori probabilities", 2002; A. K. Menon et al., "Long-tail learning via logit adjustment",
        2021).
      outputs: [n], or logits [n, bins].
    """
    if head.kind == "regression":
        return outputs
    values = jnp.asarray(head.bins.values, outputs.dtype)
    if head.prior == "recorded":
        outputs = outputs + jnp.asarray(_log_ratios(head), outputs.dtype)[None]
    if head.decode == "argmax":
        return values[jnp.argmax(outputs, axis=1)]
    # As a sum: accelerators round the factors of a matrix product.
    return (jax.nn.softmax(outputs, axis=1) * values[None]).sum(axis=1)


def _log_ratios(head: Head) -> np.ndarray:
    """The log of recorded over drawn share, float64 [bins]; 0 where there are no frames."""
    assert head.shares is not None  # Networks that are restored or trained have them.
    recorded, drawn = (np.asarray(s) for s in (head.shares.recorded, head.shares.drawn))
    filled = (recorded > 0) & (drawn > 0)
    return np.log(np.where(filled, recorded, 1) / np.where(filled, drawn, 1))


def example_losses(head: Head, outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """What every example costs: [n], of the outputs' dtype.

    Regression, e being output - target: e^2 (squared), |e| (absolute), or e^2 / 2 up to delta and
    delta * (|e| - delta / 2) beyond (huber; P. J. Huber, "Robust estimation of a location
    parameter", 1964), or `_balanced_squared`. Classification: the cross-entropy -log p of the
    target's bin, in nats.

    Args:
      head: Its kind, loss and bins; for balanced_squared its shares too.
      outputs: [n], or logits [n, bins].
      targets: In the range of the head's target, float32 [n].
    """
    if head.kind == "classification":
        index = bin_index(head.bins, targets)
        return optax.softmax_cross_entropy_with_integer_labels(outputs, index)
    targets = targets.astype(outputs.dtype)
    if head.loss == "huber":
        return optax.huber_loss(outputs, targets, delta=head.delta)
    if head.loss == "balanced_squared":
        return _balanced_squared(head, outputs, targets)
    errors = outputs - targets
    # Unlike that of abs, the gradient of this is 0 where there is no error.
    return errors * jnp.sign(errors) if head.loss == "absolute" else jnp.square(errors)


def _balanced_squared(head: Head, outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Balanced MSE in its form with bins: [n].

    J. Ren et al., "Balanced MSE for imbalanced visual regression", 2022: -log of
    exp(-(p - t)^2 / 2 s^2) / sum_b share_b exp(-(p - c_b)^2 / 2 s^2), s being the head's noise, c_b
    the value of a bin and share_b how often the head draws it. Times 2 s^2, as in the paper's code,
    it is (p - t)^2 plus what keeps p away from frequent bins, on the scale of a squared error; it
    can be below 0. The network learns what it would if targets were equally frequent, however they
    are drawn, so any balance goes with it. Targets beyond the value of the outermost bin that has
    frames count as that value: outside of the bins the cost would fall without end.
    """
    assert head.shares is not None  # Networks that are trained have them.
    values, drawn = head.bins.values, head.shares.drawn
    filled = [value for value, share in zip(values, drawn, strict=True) if share > 0]
    scale = 2 * head.noise**2
    p, t = outputs[:, None], jnp.clip(targets, min(filled), max(filled))[:, None]
    c, shares = (jnp.asarray(column, outputs.dtype)[None] for column in (values, drawn))
    # (p - t)^2 - (p - c)^2, without the difference of large squares.
    nearer = (c - t) * (2 * p - c - t)
    return scale * jax.nn.logsumexp(jnp.log(shares) + nearer / scale, axis=1)


def bin_index(bins: Bins, targets: jax.Array) -> jax.Array:
    """The bin of every target, as `bins.bin_index` finds it, on a device: integers, same shape.

    Random changes move targets inside the step, so that their bins are only known there.
    """
    # In float32 like there, also where the network computes in another type.
    targets, edges = targets.astype(jnp.float32), jnp.asarray(bins.edges, jnp.float32)
    code = jnp.searchsorted(edges, targets) + jnp.searchsorted(edges, targets, side="right")
    return jnp.asarray(bins.lookup)[code]
