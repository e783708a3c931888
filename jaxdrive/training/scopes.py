"""The names of a step's parts, as traces and compiled code show them.

The path of an operation is made of such names and of Flax's names of layers, for instance
`jit(train_step)/pass_steering/transpose(jvp(MultiHead))/backbone/conv_0/conv_general_dilated`: a
backward operation of the pass in which the head "steering" learns. Names change no number and cost
nothing at run time. `trace.py` reads them from a trace.
"""

import contextlib

import jax

# Random changes of one head's batch.
AUGMENT = "augment"
# Forward and backward pass over one head's batch, or over those of `ALL` heads stacked.
PASS = "pass"
ALL = "all"
# Inside a pass, beside the layers: the loss of a head and the numbers that are logged of it.
LOSS = "loss"
METRICS = "metrics"
# What devices tell each other: gradients, metrics, numbers of examples, batch statistics.
SUM = "sum_over_devices"
# The update of the parameters.
OPTIMIZER = "optimizer"


def scope(part: str, head: str = "") -> contextlib.AbstractContextManager[None]:
    """Names the operations made inside: `part`, or `part`_`head` for one head's share of it."""
    return jax.named_scope(f"{part}_{head}" if head else part)
