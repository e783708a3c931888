"""The optimiser and its learning rate."""

from collections.abc import Mapping
from typing import Any

import jax
import optax

from jaxdrive.errors import UserError

SCHEDULES = ("constant", "cosine", "steps")
OPTIMIZERS = ("adam", "adamw", "sgd")


def make_schedule(config: Mapping[str, Any], num_steps: int) -> optax.Schedule:
    """The learning rate by update number, of `config.optim` with durations in steps.

    It rises from 0 over `warmup_steps`, then stays ("constant"), falls to 0 at `num_steps` along
    half a cosine ("cosine": Loshchilov and Hutter, 2017), or is multiplied by a factor at each step
    of `steps` ("steps").

    Raises:
      UserError: The schedule is unknown, or "steps" has none.
    """
    rate, warmup = config["learning_rate"], min(config["warmup_steps"], num_steps - 1)
    if config["schedule"] == "constant":
        after = optax.constant_schedule(rate)
    elif config["schedule"] == "cosine":
        after = optax.cosine_decay_schedule(rate, num_steps - warmup)
    elif config["schedule"] == "steps":
        if not config["steps"]:
            raise UserError(
                'config.optim.schedule="steps" needs config.optim.steps: when to multiply the rate'
                ' by what, such as ((2000, 0.1), ("20 epochs", 0.5))'
            )
        # Joined schedules count from where they begin.
        drops = {max(step - warmup, 0): factor for step, factor in config["steps"]}
        after = optax.piecewise_constant_schedule(rate, drops)
    else:
        raise UserError(
            f"config.optim.schedule={config['schedule']!r} is not known:"
            f" one of {', '.join(SCHEDULES)}"
        )
    return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), after], [warmup])


def make_optimizer(
    config: Mapping[str, Any], schedule: optax.Schedule
) -> optax.GradientTransformation:
    """The optimiser of `config.optim` at the learning rate of `schedule`.

    "adam" (Kingma and Ba, 2015) and "sgd" with momentum add the weight decay to the gradient;
    "adamw" (Loshchilov and Hutter, 2019) to the update. Weights decay, biases and scales do not.
    The state has the same form whatever the numbers, so that they may change when a run goes on.

    Raises:
      UserError: The optimiser is unknown.
    """
    if config["name"] not in OPTIMIZERS:
        raise UserError(
            f"config.optim.name={config['name']!r} is not known: one of {', '.join(OPTIMIZERS)}"
        )
    clip, decay = config["clip_norm"], config["weight_decay"]
    decoupled = config["name"] == "adamw"
    decayed = optax.masked(
        optax.add_decayed_weights(decay) if decay else optax.identity(), _is_weight
    )
    if config["name"] == "sgd":
        direction = optax.trace(config["momentum"])
    else:
        direction = optax.scale_by_adam()
    return optax.chain(
        optax.clip_by_global_norm(clip) if clip else optax.identity(),
        *((direction, decayed) if decoupled else (decayed, direction)),
        optax.scale_by_learning_rate(schedule),
    )


def _is_weight(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
