"""The optimiser and its learning rate."""

from collections.abc import Mapping
from typing import Any

import optax

from jaxdrive.errors import UserError

SCHEDULES = ("constant", "cosine")


def make_schedule(config: Mapping[str, Any], num_steps: int) -> optax.Schedule:
    """The learning rate by update number, of `config.optim`.

    It rises from 0 over `warmup_steps`, then stays ("constant") or falls to 0 at `num_steps` along
    half a cosine ("cosine": Loshchilov and Hutter, 2017).

    Raises:
      UserError: The schedule is unknown.
    """
    rate, warmup = config["learning_rate"], min(config["warmup_steps"], num_steps - 1)
    if config["schedule"] == "constant":
        after = optax.constant_schedule(rate)
    elif config["schedule"] == "cosine":
        after = optax.cosine_decay_schedule(rate, num_steps - warmup)
    else:
        raise UserError(
            f"config.optim.schedule={config['schedule']!r} is not known:"
            f" one of {', '.join(SCHEDULES)}"
        )
    return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), after], [warmup])


def make_optimizer(schedule: optax.Schedule) -> optax.GradientTransformation:
    """Adam (Kingma and Ba, 2015) at the learning rate of `schedule`."""
    return optax.adam(schedule)
