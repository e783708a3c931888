"""Augmentation: pictures and targets change together, the same on any number of devices."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from configs import default
from jaxdrive.heads import heads_from_config
from jaxdrive.training.augment import Changes, active, change_images, draw, make_augment
from jaxdrive.training.step import DATA_AXIS

ROWS = 8
HEADS = heads_from_config(default.get_config().heads.to_dict())
OFF = default.get_config().augment.to_dict()
STRONG = {
    "flip": {"probability": 0.5},
    "shift": {"sideways": 3, "along": 2, "label_per_pixel": {"steering": 0.05}},
    "brightness": {"spread": 0.4},
    "gamma": {"spread": 0.5},
    "colour_mix": {"spread": 0.6, "offset": 0.2, "invert": 0.5},
}


@pytest.fixture(autouse=True)
def _strict_dtypes():
    with jax.numpy_dtype_promotion("strict"):
        yield


def setting(**kinds) -> dict:
    """Everything off but these."""
    changed = copy.deepcopy(OFF)
    for kind, values in kinds.items():
        changed[kind] |= values
    return changed


def batch_of(rows: int = ROWS, size: tuple[int, int] = (6, 7)) -> dict:
    generator = np.random.default_rng(rows)
    return {
        name: {
            "inputs": {
                "image": generator.integers(0, 256, (rows, *size, 3), np.uint8),
                "speed": generator.random(rows, np.float32),
            },
            "labels": {name: generator.uniform(head.low, head.high, rows).astype(np.float32)},
            "mirrored": {name: generator.uniform(head.low, head.high, rows).astype(np.float32)},
            "record": np.arange(rows, dtype=np.int32),
            "mask": np.ones(rows, bool),
        }
        for name, head in HEADS.items()
    }


def number(value: int) -> jax.Array:
    return jnp.asarray(value, jnp.int32)


def augmented(kinds, batch, *, position=3, step=3, seed=1):
    augment = jax.jit(make_augment(kinds, HEADS, seed=seed))
    return jax.device_get(
        augment(batch, position=number(position), step=number(step), first_row=number(0))
    )


def drawn(kinds, head, *, position=3, step=3, seed=1, rows=ROWS) -> Changes:
    place = list(HEADS).index(head)
    return jax.device_get(
        draw(
            kinds,
            seed=seed,
            head=place,
            position=number(position),
            step=number(step),
            rows=jnp.arange(rows, dtype=jnp.int32),
        )
    )


def by_hand(image, row: int, changes: Changes) -> np.ndarray:
    """One picture, pixel by pixel, in the order that is promised."""
    if changes.flip[row]:
        image = image[:, ::-1]
    height, width, _ = image.shape
    right, down = changes.shift[row]
    moved = np.empty_like(image)
    for y in range(height):
        for x in range(width):
            moved[y, x] = image[
                min(max(y - down, 0), height - 1), min(max(x - right, 0), width - 1)
            ]
    values = moved.astype(np.float64) / 255
    values = np.clip(values * changes.brightness[row], 0, 1) ** changes.gamma[row]
    values = (values - 0.5) @ changes.mix[row] + 0.5 + changes.offset[row]
    return np.clip(values, 0, 1) * 255


def test_pictures_and_targets_change_as_was_drawn():
    batch, kinds = batch_of(64), setting(**STRONG)
    got = augmented(kinds, batch)
    flipped = 0
    for name, head in HEADS.items():
        changes = drawn(kinds, name, rows=64)
        part = batch[name]
        assert got[name]["inputs"]["image"].dtype == np.uint8
        for row in range(64):
            want = by_hand(part["inputs"]["image"][row], row, changes)
            np.testing.assert_allclose(got[name]["inputs"]["image"][row], want, atol=0.51)
        learned = np.where(changes.flip, part["mirrored"][name], part["labels"][name])
        moved = 0.05 * changes.shift[:, 0] / head.scale if name == "steering" else 0
        want = np.clip(learned + moved, head.low, head.high)
        np.testing.assert_allclose(got[name]["labels"][name], want, rtol=1e-6, atol=1e-7)
        for untouched in ("record", "mask"):
            np.testing.assert_array_equal(got[name][untouched], part[untouched])
        np.testing.assert_array_equal(got[name]["inputs"]["speed"], part["inputs"]["speed"])
        flipped += changes.flip.sum()
    assert 0 < flipped < 64 * len(HEADS)


@pytest.mark.parametrize("kind", sorted(STRONG))
def test_a_kind_alone_changes_only_what_is_its_own(kind):
    kinds = setting(**{kind: STRONG[kind]})
    assert active(kinds) == (kind,)
    everything, alone = drawn(setting(**STRONG), "steering"), drawn(kinds, "steering")
    own = {"colour_mix": ("mix", "offset")}.get(kind, (kind,))
    still = {"flip": False, "shift": 0, "brightness": 1, "gamma": 1, "mix": np.eye(3), "offset": 0}
    for field, value in still.items():
        expected = getattr(everything, field) if field in own else value
        np.testing.assert_array_equal(getattr(alone, field), expected + 0 * getattr(alone, field))
    assert any((getattr(alone, field) != still[field]).any() for field in own)


def test_nothing_is_drawn_and_nothing_changes_where_all_is_off():
    assert active(OFF) == ()
    batch = batch_of()
    got = augmented(OFF, batch)
    jax.tree.map(np.testing.assert_array_equal, got, batch)


@given(st.integers(0, 5), st.integers(0, 4), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_shifts_stay_within_their_extents_and_reach_them(sideways, along, position):
    kinds = setting(shift={"sideways": sideways, "along": along})
    shift = drawn(kinds, "brake", position=position, rows=512).shift
    for axis, extent in enumerate((sideways, along)):
        assert set(shift[:, axis]) == set(range(-extent, extent + 1))


def test_numbers_depend_on_seed_position_head_and_row_alone():
    kinds = setting(**STRONG)
    base = drawn(kinds, "brake")
    for other in (
        drawn(kinds, "brake", seed=2),
        drawn(kinds, "brake", position=4),
        drawn(kinds, "steering"),
    ):
        assert (other.gamma != base.gamma).all()
    assert len(set(base.gamma.tolist())) == ROWS
    np.testing.assert_array_equal(drawn(kinds, "brake", rows=3).gamma, base.gamma[:3])


def test_one_and_four_devices_change_the_same():
    kinds, batch = setting(**STRONG), batch_of()
    augment = make_augment(kinds, HEADS, seed=1)

    def on_device(batch):
        first = jax.lax.axis_index(DATA_AXIS) * len(batch["brake"]["mask"])
        return augment(batch, position=number(3), step=number(3), first_row=first)

    mesh = Mesh(np.asarray(jax.devices()[:4]), (DATA_AXIS,))
    spread = jax.jit(
        jax.shard_map(on_device, mesh=mesh, in_specs=P(DATA_AXIS), out_specs=P(DATA_AXIS))
    )
    jax.tree.map(np.testing.assert_array_equal, spread(batch), augmented(kinds, batch))


def test_a_schedule_scales_the_strength_by_the_updates_made():
    schedule = ((100, 0.0), (200, 1.0))
    kinds = setting(**{kind: values | {"schedule": schedule} for kind, values in STRONG.items()})
    full = drawn(setting(**STRONG), "steering")
    before, half, after = (drawn(kinds, "steering", step=step) for step in (50, 150, 900))
    jax.tree.map(np.testing.assert_array_equal, after, full)
    images = batch_of()["steering"]["inputs"]["image"]
    np.testing.assert_array_equal(change_images(active(kinds), before, images), images)
    np.testing.assert_allclose(half.brightness - 1, (full.brightness - 1) / 2, rtol=1e-5)
    np.testing.assert_allclose(np.log(half.gamma), np.log(full.gamma) / 2, rtol=1e-5)
    np.testing.assert_allclose(half.offset, full.offset / 2, rtol=1e-5)


def test_mixing_spares_the_share_of_pictures_that_is_asked_for():
    kinds = setting(colour_mix=STRONG["colour_mix"] | {"probability": 0.25})
    changes = drawn(kinds, "steering", rows=2000)
    mixed = (changes.mix != np.eye(3, dtype=np.float32)).any(axis=(1, 2))
    assert 0.2 < mixed.mean() < 0.3
    assert (changes.offset[~mixed] == 0).all()
