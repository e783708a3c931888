"""Augmentation: pictures and targets change together, the same on any number of devices."""

import copy
import dataclasses

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
from jaxdrive.training.augment import Changes, active, draw, make_augment
from jaxdrive.training.step import DATA_AXIS
from jaxdrive.views import TRANSFORMS
from tests.training import pixel_reference as reference

ROWS = 8
EVERY = heads_from_config(default.get_config().heads.to_dict())
HEADS = {name: EVERY[name] for name in ("brake", "steering")}
# What is drawn for a row depends on no other, so all tests draw as many and take what they need.
DRAWN = 512
OFF = default.get_config().augment.to_dict()
STRONG = {
    "flip": {"probability": 0.5},
    "shift": {"sideways": 3, "along": 2, "label_per_pixel": {"steering": 0.05}},
    "brightness": {"spread": 0.4, "bias": -0.1},
    "gamma": {"spread": 0.5},
    "colour_mix": {"spread": 0.6, "offset": 0.2, "invert": 0.5},
    "crop": {"top": 2, "bottom": 1},
    "shadow": {"probability": 0.5, "lightness": 0.5},
    "contrast": {"spread": 0.4},
    "saturation": {"spread": 0.5},
    "hue": {"spread": 0.2},
    "blur": {"sigma": 1.0},
    "noise": {"std": 0.1},
    "small_angles": {"probability": 0.7, "below": 0.5},
}


FIRST = ("flip", "shift", "brightness", "gamma", "colour_mix")
# Drawn for steering by seed 7 when there were these five kinds.
BEFORE = {
    "brightness": [1.1106973, 1.1838267, 0.7657650],
    "gamma": [0.9355103, 0.6354475, 0.7133868],
    "mix": [1.4930893, -0.2242150, 0.4968230],
    "shift": [[-2, 2], [0, 0], [0, -1]],
    "flip": [True, False, True, False, False, True, True, True],
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


def batch_of(
    rows: int = ROWS, size: tuple[int, int] = (6, 7), *, heads=None, views: bool = False
) -> dict:
    """heads: whose labels each part has; its own head's alone otherwise."""
    generator = np.random.default_rng(rows)
    return {
        name: {
            "inputs": {
                "image": generator.integers(0, 256, (rows, *size, 3), np.uint8),
                "speed": generator.random(rows, np.float32),
            },
            **{
                kind: {
                    seen: generator.uniform(HEADS[seen].low, 1, rows).astype(np.float32)
                    for seen in heads or [name]
                }
                for kind in ("labels", "mirrored")
            },
            **({"transform": np.arange(rows, dtype=np.int32) % 14} if views else {}),
            "record": np.arange(rows, dtype=np.int32),
            "mask": np.ones(rows, bool),
        }
        for name in HEADS
    }


def number(value: int) -> jax.Array:
    return jnp.asarray(value, jnp.int32)


def augmented(kinds, batch, *, position=3, step=3, seed=1):
    augment = jax.jit(make_augment(kinds, HEADS, seed=seed))
    return jax.device_get(
        augment(batch, position=number(position), step=number(step), first_row=number(0))
    )


@jax.jit
def _drawn(kinds, seed, head, position, step) -> Changes:
    rows = jnp.arange(DRAWN, dtype=jnp.int32)
    return draw(kinds, seed=seed, head=head, position=position, step=step, rows=rows)


def drawn(kinds, head, *, position=3, step=3, seed=1, rows=ROWS) -> Changes:
    numbers = {
        kind: {name: value for name, value in values.items() if name != "head"}
        for kind, values in kinds.items()
    }
    place = list(HEADS).index(head)
    changes = _drawn(numbers, seed, place, number(position), number(step))
    return jax.tree.map(lambda values: values[:rows], jax.device_get(changes))


def by_hand(image, row: int, changes: Changes, view: int = 0) -> np.ndarray:
    """One picture, pixel by pixel, in the order that is promised, as `STRONG` has it."""
    image = reference.view(image / 255, view)
    if changes.flip[row]:
        image = image[:, ::-1]
    image = reference.shift(image, *changes.shift[row])
    image = reference.crop(image, *changes.crop[row])
    ends = changes.shadow_ends[row]
    image = reference.shadow(image, ends, changes.shadow_left[row], changes.shadow[row])
    image = reference.brightness(image, changes.brightness[row])
    image = reference.contrast(image, changes.contrast[row])
    image = reference.power(image, changes.gamma[row])
    image = reference.saturation(image, changes.saturation[row])
    image = reference.hue(image, changes.hue[row])
    image = reference.mix(image, changes.mix[row], changes.offset[row])
    image = reference.blur(image, changes.blur[row], radius=3)
    return np.clip(image, 0, 1) * 255


@pytest.mark.parametrize("views", [False, True])
def test_pictures_and_targets_change_as_was_drawn(views):
    """All but noise, of which there is nothing to say pixel by pixel."""
    # Without views the half of the kinds that whole runs are made with most, which compile fast.
    few = {kind: STRONG[kind] for kind in (*FIRST, "small_angles")}
    batch = batch_of(64, views=views)
    kinds = setting(**(STRONG | {"noise": {}} if views else few))
    got = augmented(kinds, batch)
    flipped = 0
    for name, head in HEADS.items():
        changes = drawn(kinds, name, rows=64)
        part = batch[name]
        assert got[name]["inputs"]["image"].dtype == np.uint8
        for row in range(64):
            want = by_hand(part["inputs"]["image"][row], row, changes, row % 14 if views else 0)
            np.testing.assert_allclose(got[name]["inputs"]["image"][row], want, atol=0.51)
        # A mirrored view that is flipped is as it was recorded.
        mirrored = changes.flip ^ (views & (np.arange(64) % 14 >= 7))
        learned = np.where(mirrored, part["mirrored"][name], part["labels"][name])
        moved = 0.05 * changes.shift[:, 0] / head.scale if name == "steering" else 0
        want = np.clip(learned + moved, head.low, head.high)
        np.testing.assert_allclose(got[name]["labels"][name], want, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(got[name]["record"], part["record"])
        left_out = changes.small_angles & (np.abs(want) < 0.5) & (name == "steering")
        np.testing.assert_array_equal(got[name]["mask"], ~left_out)
        assert left_out.any() == (name == "steering")
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
    still |= {"crop": 0, "shadow": 1, "contrast": 1, "saturation": 1, "hue": 0, "blur": 0}
    still |= {"noise": 0, "small_angles": False}
    for field, value in still.items():
        expected = getattr(everything, field) if field in own else value
        np.testing.assert_array_equal(getattr(alone, field), expected + 0 * getattr(alone, field))
    # What is drawn in any case, with the same numbers whatever else there is.
    for field in ("shadow_ends", "shadow_left", "noise_key", "view", "view_flip"):
        np.testing.assert_array_equal(getattr(alone, field), getattr(everything, field))
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
    few = {kind: STRONG[kind] for kind in (*FIRST, "shadow", "noise", "small_angles")}
    kinds, batch = setting(**few), batch_of(heads=list(HEADS), views=True)
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
    batch, augment = batch_of(), jax.jit(make_augment(kinds, HEADS, seed=1))
    off, on = (
        augment(batch, position=number(3), step=number(step), first_row=number(0))
        for step in (50, 900)
    )
    jax.tree.map(np.testing.assert_array_equal, off, batch)
    assert (on["steering"]["inputs"]["image"] != batch["steering"]["inputs"]["image"]).any()
    assert (before.mix == np.eye(3)).all()
    for field in ("brightness", "contrast", "saturation"):
        halves, fulls = (getattr(changes, field) - 1 for changes in (half, full))
        np.testing.assert_allclose(halves, fulls / 2, atol=1e-6)
    for field in ("hue", "blur", "noise"):
        np.testing.assert_allclose(getattr(half, field), getattr(full, field) / 2, rtol=1e-5)
    np.testing.assert_allclose(np.log(half.gamma), np.log(full.gamma) / 2, rtol=1e-5)
    np.testing.assert_allclose(half.offset, full.offset / 2, rtol=1e-5)


def test_mixing_spares_the_share_of_pictures_that_is_asked_for():
    kinds = setting(colour_mix=STRONG["colour_mix"] | {"probability": 0.25})
    changes = drawn(kinds, "steering", rows=DRAWN)
    mixed = (changes.mix != np.eye(3, dtype=np.float32)).any(axis=(1, 2))
    assert 0.2 < mixed.mean() < 0.3
    assert (changes.offset[~mixed] == 0).all()


def test_the_first_kinds_draw_what_they_always_drew():
    """Runs from before there were others go on as they would have."""
    changes = drawn(setting(**STRONG | {"brightness": {"spread": 0.4}}), "steering", seed=7)
    np.testing.assert_allclose(changes.brightness[:3], BEFORE["brightness"], rtol=1e-6)
    np.testing.assert_allclose(changes.gamma[:3], BEFORE["gamma"], rtol=1e-6)
    np.testing.assert_allclose(changes.mix[0, 0], BEFORE["mix"], rtol=1e-6)
    np.testing.assert_array_equal(changes.shift[:3], BEFORE["shift"])
    np.testing.assert_array_equal(changes.flip[:8], BEFORE["flip"])


def test_a_schedule_takes_views_back_to_what_was_recorded():
    batch = batch_of(56, views=True)
    recorded = {name: {**part} for name, part in batch.items()}
    none = augmented(setting(views={"schedule": ((0, 0.0),)}), batch)
    jax.tree.map(np.testing.assert_array_equal, none, recorded)
    half = setting(views={"schedule": ((0, 0.5),)})
    part, changes = augmented(half, batch)["steering"], drawn(half, "steering", rows=56)
    mirrored = np.array([view.mirrored for view in TRANSFORMS] * 4)
    assert 5 < (changes.view_flip & mirrored).sum() < 23
    for row in range(56):
        image, view = batch["steering"]["inputs"]["image"][row] / 255, row % 14
        flipped = mirrored[row] and changes.view_flip[row]
        factor = {1: 0.625, 2: 1.125}.get(view % 7, 1.0)
        gamma = {3: 0.5, 4: 1.5, 5: 2.0, 6: 2.5}.get(view % 7, 1.0)
        want = reference.power(reference.value(image, factor), gamma**-0.5)
        want = want[:, :: -1 if flipped else 1]
        np.testing.assert_allclose(part["inputs"]["image"][row], want * 255, atol=0.51)
        label = batch["steering"]["mirrored" if flipped else "labels"]["steering"][row]
        assert part["labels"]["steering"][row] == label


def test_the_popular_brightness_can_be_told():
    kinds = setting(brightness={"spread": 0.5, "bias": -0.25})
    factors = drawn(kinds, "brake", rows=DRAWN).brightness
    assert factors.min() >= 0.25
    assert factors.max() <= 1.25
    assert np.ptp(factors) > 0.98
    kinds["brightness"]["schedule"] = ((0, 0.0),)
    assert (drawn(kinds, "brake").brightness == 1).all()


@given(st.integers(0, 5), st.integers(0, 4), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_cut_rows_stay_within_their_extents_and_reach_them(top, bottom, position):
    crop = drawn(setting(crop={"top": top, "bottom": bottom}), "brake", position=position, rows=512)
    for axis, extent in enumerate((top, bottom)):
        assert set(crop.crop[:, axis]) == set(range(extent + 1))


@pytest.mark.parametrize("seen", ["own", "all"])
def test_small_angles_are_left_out_wherever_the_label_is_known(seen):
    """Judged in the label's unit, after a flip; ever more are kept as the schedule falls."""
    scaled = HEADS | {"steering": dataclasses.replace(HEADS["steering"], scale=0.5)}
    schedule = ((100, 1.0), (200, 0.0))
    angles = {"probability": 0.8, "below": 0.15, "schedule": schedule}
    kinds = setting(flip={"probability": 0.5}, small_angles=angles)
    batch = batch_of(400, (1, 1), heads=None if seen == "own" else list(HEADS))
    kept = []
    for step in (0, 150, 200):
        augment = make_augment(kinds, scaled, seed=1)
        got = jax.device_get(
            augment(batch, position=number(3), step=number(step), first_row=number(0))
        )
        for part in got.values():
            if "steering" not in part["labels"]:
                assert part["mask"].all()
                continue
            small = np.abs(part["labels"]["steering"]) * 0.5 < 0.15
            assert part["mask"][~small].all()
            kept.append(part["mask"][small].mean())
    heads = 1 if seen == "own" else len(HEADS)
    for shares, expected in zip(np.reshape(kept, (3, heads)), (0.2, 0.6, 1.0), strict=True):
        np.testing.assert_allclose(shares, expected, atol=0.12 if expected < 1 else 0)
