"""Optimisers do what their papers say, and their states stay of one form."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import default
from jaxdrive.errors import UserError
from jaxdrive.training.optim import make_optimizer, make_schedule

PARAMS = {"kernel": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "bias": jnp.array([0.3, -0.1])}


def settings(**changes) -> dict:
    optim = default.get_config().optim.to_dict()
    return optim | {"warmup_steps": 0, "schedule": "constant", "learning_rate": 0.1} | changes


def gradient(step: int) -> dict:
    return jax.tree.map(lambda p: jnp.sin(p * (step + 1)), PARAMS)


def trained(optimizer, steps: int = 4) -> dict:
    params, state = PARAMS, optimizer.init(PARAMS)
    for step in range(steps):
        updates, state = optimizer.update(gradient(step), state, params)
        params = optax.apply_updates(params, updates)
    return params


def by_hand(name: str, rate: float, decay: float, clip: float, steps: int = 4) -> dict:
    """The textbooks' formulas in numpy."""
    params = {key: np.asarray(value, np.float64) for key, value in PARAMS.items()}
    first = {key: np.zeros_like(value) for key, value in params.items()}
    second = {key: np.zeros_like(value) for key, value in params.items()}
    for step in range(steps):
        grads = {key: np.asarray(value, np.float64) for key, value in gradient(step).items()}
        norm = np.sqrt(sum(np.square(value).sum() for value in grads.values()))
        for key, value in grads.items():
            g = value * min(1, clip / norm) if clip else value
            weight = decay * params[key] if key == "kernel" else 0
            if name != "adamw":
                g = g + weight
            if name == "sgd":
                first[key] = 0.9 * first[key] + g
                update = first[key]
            else:
                first[key] = 0.9 * first[key] + 0.1 * g
                second[key] = 0.999 * second[key] + 0.001 * g**2
                unbiased = second[key] / (1 - 0.999 ** (step + 1))
                update = first[key] / (1 - 0.9 ** (step + 1)) / (np.sqrt(unbiased) + 1e-8)
            if name == "adamw":
                update = update + weight
            params[key] = params[key] - rate * update
    return params


@pytest.mark.parametrize(
    ("name", "decay", "clip"),
    list(itertools.product(["adam", "adamw", "sgd"], [0.0, 0.05], [0.0, 0.4])),
)
def test_optimisers_equal_the_textbooks(name, decay, clip):
    config = settings(name=name, weight_decay=decay, clip_norm=clip)
    got = trained(make_optimizer(config, make_schedule(config, 100)))
    want = by_hand(name, 0.1, decay, clip)
    for key in want:
        np.testing.assert_allclose(got[key], want[key], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_the_state_keeps_its_form_whatever_the_numbers(name):
    forms = set()
    for changes in (
        {},
        {"weight_decay": 0.1, "clip_norm": 1.0, "momentum": 0.0},
        {"schedule": "cosine", "warmup_steps": 3},
        {"schedule": "steps", "steps": ((2, 0.1),)},
    ):
        config = settings(name=name, **changes)
        state = make_optimizer(config, make_schedule(config, 100)).init(PARAMS)
        shapes = [(leaf.shape, leaf.dtype.name) for leaf in jax.tree.leaves(state)]
        forms.add((jax.tree.structure(state), tuple(shapes)))
    assert len(forms) == 1


def test_schedules_rise_and_then_stay_fall_or_drop():
    def rates(**changes) -> list[float]:
        schedule = make_schedule(settings(**changes), 100)
        return [float(schedule(step)) for step in (0, 5, 10, 40, 55, 99)]

    warm = {"warmup_steps": 10}
    assert rates(**warm) == pytest.approx([0, 0.05, 0.1, 0.1, 0.1, 0.1])
    falling = [0.1 * (1 + np.cos(np.pi * (step - 10) / 90)) / 2 for step in (10, 40, 55, 99)]
    assert rates(schedule="cosine", **warm) == pytest.approx([0, 0.05, *falling], abs=1e-7)
    drops = {"schedule": "steps", "steps": ((40, 0.5), (55, 0.1))}
    assert rates(**drops, **warm) == pytest.approx([0, 0.05, 0.1, 0.05, 0.005, 0.005])


def test_unknown_names_are_told_with_those_that_are_known():
    with pytest.raises(UserError, match=r"'lion' is not known: one of adam, adamw, sgd"):
        make_optimizer(settings(name="lion"), optax.constant_schedule(0.1))
    with pytest.raises(UserError, match=r"'linear' is not known: one of constant, cosine, steps"):
        make_schedule(settings(schedule="linear"), 100)
    with pytest.raises(UserError, match=r'schedule="steps" needs config\.optim\.steps'):
        make_schedule(settings(schedule="steps"), 100)
