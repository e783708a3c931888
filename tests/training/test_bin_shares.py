"""Shares of bins are those of the labels that the train step learns, counted over many batches."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
from jaxdrive import bins
from jaxdrive.heads import heads_from_config
from jaxdrive.training import parts
from jaxdrive.training.augment import make_augment
from tests.data import tiny

BATCH = 512
BATCHES = 16


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> tiny.Tiny:
    return tiny.make(tmp_path_factory.mktemp("shares") / "dataset")


def config_of(augment=None, **fields) -> dict:
    config = default.get_config().to_dict()
    config |= {"batch_size": BATCH, "num_steps": 10, "seed": 5, "scalars": {}} | fields
    config["data"] |= {"height": tiny.HEIGHT, "width": tiny.WIDTH}
    config["model"] |= {"channels": (4,), "common": (4,), "head": ()}
    config["loader"] = {"threads": 1, "prefetch": 1}
    config["heads"] = {
        name: dataclasses.asdict(head)
        | {"joint_bins": dataclasses.asdict(head.bins)}
        | {"bins": {"edges": head.bins.edges, "atoms": head.bins.atoms}}
        for name, head in tiny.HEADS.items()
    }
    for kind, values in (augment or {}).items():
        config["augment"][kind] |= values
    return config


def shares_of(config, dataset):
    heads = parts.make_trainer(config, dataset).network.heads
    return {name: head.shares for name, head in heads.items()}


def counted(config, dataset) -> dict[str, np.ndarray]:
    """By head, the share of every bin in the rows that count, of batches at the last step."""
    trainer = parts.make_trainer(config, dataset)
    heads = heads_from_config(config["heads"])
    augment = make_augment(config["augment"], heads, seed=config["seed"])
    change = jax.jit(
        lambda batch, position: augment(
            batch,
            position=position,
            step=jnp.asarray(config["num_steps"], jnp.int32),
            first_row=jnp.zeros((), jnp.int32),
        )
    )
    totals = {name: np.zeros(len(head.bins)) for name, head in heads.items()}
    batches = parts.batches_from(trainer, config, 0)
    for position, batch in enumerate(itertools.islice(batches, BATCHES)):
        for part in jax.device_get(change(batch, jnp.asarray(position, jnp.int32))).values():
            for name, labels in part["labels"].items():
                index = bins.bin_index(heads[name].bins, labels[part["mask"]])
                totals[name] += np.bincount(index, minlength=len(totals[name]))
    return {name: total / total.sum() for name, total in totals.items()}


CHANGES = {
    # Nine in ten are mirrored at the start, three in ten at the end.
    "flip": {"probability": 0.9, "schedule": ((0, 1.0), (10, 1 / 3))},
    "shift": {"sideways": 2, "label_per_pixel": {"steering": 0.06}},
    "small_angles": {"probability": 0.6, "below": 0.12},
}


@pytest.mark.parametrize(
    ("augment", "fields"),
    [
        ({}, {"balance": "v2", "balance_power": 0.5}),
        (CHANGES, {"balance": "v2"}),
        (CHANGES, {"balance": "v2", "views": "fourteen", "supervise": "all"}),
        (CHANGES | {"views": {"schedule": ((0, 0.5),)}}, {"balance": "none", "views": "fourteen"}),
    ],
)
def test_shares_are_those_of_what_the_step_learns(small, augment, fields):
    config = config_of(augment, **fields)
    shares = shares_of(config, small.dataset)
    as_drawn = counted(config, small.dataset)
    # Balance none draws every frame equally, and supervise says whose small angles are left out.
    supervise = parts.supervise_of(config)
    plain = config | {"balance": "none", "balance_power": 1.0, "supervise": supervise}
    as_recorded = counted(plain, small.dataset)
    for name, found in shares.items():
        assert sum(found.drawn) == pytest.approx(1)
        np.testing.assert_allclose(found.drawn, as_drawn[name], atol=0.02)
        np.testing.assert_allclose(found.recorded, as_recorded[name], atol=0.02)
        if config["balance"] == "none":
            assert found.recorded == found.drawn


def test_nothing_changed_is_counted_exactly(small):
    config = config_of(balance="v2")
    ids = small.dataset.ids("train")
    for name, shares in shares_of(config, small.dataset).items():
        head = tiny.HEADS[name]
        labels = small.labels[name][ids].astype(float)
        for camera, correction in head.corrections.items():
            labels[np.array(small.cameras)[ids] == camera] += correction
        index = bins.bin_index(head.bins, labels / head.scale)
        counts = np.bincount(index, minlength=len(head.bins))
        np.testing.assert_allclose(shares.recorded, counts / len(ids), rtol=1e-9)
        np.testing.assert_allclose(shares.drawn, (counts > 0) / (counts > 0).sum(), rtol=1e-9)


def test_a_head_of_which_nothing_counts_has_equal_shares(small):
    config = config_of({"small_angles": {"probability": 1.0, "below": 2.0}}, balance="none")
    shares = shares_of(config, small.dataset)["steering"]
    assert shares.drawn == shares.recorded == (1 / 5,) * 5
