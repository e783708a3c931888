"""Every view has one number and is drawn once a pass, by the label that it has itself."""

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdrive.bins import Bins
from jaxdrive.data.balance import Balance, make_plans
from jaxdrive.data.balance_report import report
from jaxdrive.data.image_reader import ImageReader
from jaxdrive.data.loader import Examples
from jaxdrive.data.split import SPLITS
from jaxdrive.data.views import ids_of, records_of, targets_of, transforms_of
from jaxdrive.evaluation.balance_table import table
from jaxdrive.heads import Head
from jaxdrive.views import TRANSFORMS
from tests.data.test_loader import by_hand, some_batches

STEERING = Head(
    "steering",
    "angle",
    0.5,
    -1.0,
    1.0,
    Bins((-1, -0.5, 0, 0.5, 1), (0,)),
    "rad",
    mirror=-1.0,
    corrections={"left": 0.25, "right": -0.25},
)
HEADS = {"steering": STEERING}


def plan_of(labels, cameras, ids, *, mode, batch_size):
    plans = make_plans(
        HEADS,
        {"steering": labels},
        cameras,
        ids,
        balance=Balance(mode),
        seed=3,
        batch_size=batch_size,
        views="fourteen",
    )
    return plans["steering"]


@given(st.sets(st.tuples(st.integers(0, 40), st.sampled_from(tiny.CAMERAS)), min_size=1))
def test_row_camera_and_transform_and_number_stand_for_each_other(pictures):
    """Whatever rows, and cameras of rows, were bad: a record is what is left of them."""
    records = sorted(pictures)
    ids = ids_of(np.arange(len(records), dtype=np.int32), views="fourteen")
    assert ids.dtype == np.int32
    told = [
        (*records[record], transform)
        for record, transform in zip(
            records_of(ids, views="fourteen"), transforms_of(ids), strict=True
        )
    ]
    every = {(*picture, transform) for picture in pictures for transform in range(14)}
    assert set(told) == every
    assert len(told) == len(every)
    assert sorted(ids.tolist()) == list(range(14 * len(records)))
    numbers = dict(zip(told, ids.tolist(), strict=True))
    for place, picture in enumerate(records):
        for transform in range(14):
            assert numbers[(*picture, transform)] == 14 * place + transform


def test_a_pass_reaches_every_view_of_the_published_recording_once():
    """19,491 rows of three cameras. The published trainer reached 58,512 of the views."""
    records = np.arange(19_491 * 3, dtype=np.int32)
    ids = ids_of(records, views="fourteen")
    assert len(ids) == 818_622
    cameras = np.tile(tiny.CAMERAS, 19_491)
    labels = np.zeros(len(records), np.float32)
    plan = plan_of(labels, cameras, ids, mode="none", batch_size=len(ids))
    drawn = plan.draw(0)
    np.testing.assert_array_equal(np.sort(drawn), ids)
    assert set(records_of(drawn[:100_000], views="fourteen").tolist()) != set(range(100_000 // 14))


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.sampled_from(tiny.CAMERAS)), min_size=1, max_size=20),
    st.integers(1, 50),
)
@settings(max_examples=50, deadline=None)
def test_views_are_balanced_by_the_bin_of_their_own_label(rows, batch_size):
    labels = np.array([tenth / 10 for tenth, _ in rows], np.float32)
    cameras = np.array([camera for _, camera in rows])
    ids = ids_of(np.arange(len(rows), dtype=np.int32), views="fourteen")
    plan = plan_of(labels, cameras, ids, mode="v2", batch_size=batch_size)

    def bin_of(view: int) -> str:
        """By hand, in hundredths: the correction, mirrored with the camera, and the five bins."""
        tenth, camera = rows[view // 14]
        angle = 10 * tenth + {"center": 0, "left": 25, "right": -25}[camera]
        angle = min(max(-angle if view % 14 >= 7 else angle, -50), 50)
        near = "near" if abs(angle) <= 25 else "far"
        return "zero" if angle == 0 else f"{near} {'right' if angle > 0 else 'left'}"

    bins = {}
    for view in ids.tolist():
        bins.setdefault(bin_of(view), []).append(view)
    draws = len(bins) * max(map(len, bins.values()))
    drawn = np.concatenate([plan.draw(place) for place in range(-(-draws // batch_size))])
    for run in drawn[: len(drawn) // len(bins) * len(bins)].reshape(-1, len(bins)):
        assert sorted(bin_of(view) for view in run) == sorted(bins)
    for name, views in bins.items():
        a_pass = [view for view in drawn.tolist() if bin_of(view) == name][: len(views)]
        assert sorted(a_pass) == views

    found = report(
        HEADS,
        {"steering": labels},
        cameras,
        ids,
        {"steering": plan},
        balance=Balance("v2"),
        supervise="own",
        views="fourteen",
    )
    order = ("far left", "near left", "zero", "near right", "far right")
    for name, part in zip(order, found["heads"]["steering"]["bins"], strict=True):
        assert part["frames"] == len(bins.get(name, ()))
        assert part["planned_share"] == pytest.approx(1 / len(bins) if name in bins else 0)
    lines = table(found, None)
    assert lines[0].endswith("what is counted and drawn are views, fourteen of every frame")
    assert lines[2].split()[2:] == ["views", "recorded", "planned", "repeats"]


def test_no_frame_is_in_two_splits_in_any_view(small):
    records = {
        split: set(records_of(ids_of(small.dataset.ids(split), views="fourteen"), views="fourteen"))
        for split in SPLITS
    }
    for split, own in records.items():
        assert own == set(small.dataset.ids(split))
        assert not own & set().union(*(records[other] for other in SPLITS if other != split))
    ids = ids_of(small.dataset.ids("train"), views="fourteen")
    about = (small.dataset.labels, small.dataset.cameras, ids)
    plans = make_plans(
        tiny.HEADS, *about, balance=Balance("v2"), seed=0, batch_size=50, views="fourteen"
    )
    for plan in plans.values():
        drawn = np.concatenate([plan.draw(place) for place in range(40)])
        assert set(records_of(drawn, views="fourteen")) == records["train"]


def test_a_batch_of_views_is_of_frames_as_recorded_and_says_what_to_make_of_them(small):
    examples = Examples(
        small.dataset,
        ImageReader(small.dataset),
        tiny.HEADS,
        small.dataset.labels,
        {"speed": 0.125},
    )
    ids = ids_of(small.dataset.ids("train"), views="fourteen")
    about = (small.dataset.labels, small.dataset.cameras, ids)
    plans = make_plans(
        tiny.HEADS, *about, balance=Balance("v2"), seed=0, batch_size=16, views="fourteen"
    )
    for position, batch in enumerate(some_batches(examples, plans, views="fourteen")):
        for head, part in batch.items():
            drawn = plans[head].draw(position)
            np.testing.assert_array_equal(part["record"], drawn // 14, strict=True)
            np.testing.assert_array_equal(part["transform"], drawn % 14, strict=True)
            np.testing.assert_array_equal(part["inputs"]["image"], small.images[drawn // 14])
            mirrored = np.array([TRANSFORMS[place].mirrored for place in part["transform"]])
            learned = {}
            for kind, sign in (("labels", 1), ("mirrored", -1)):
                learned[kind] = by_hand(small, drawn // 14, sign=sign)[head]
                np.testing.assert_array_equal(part[kind][head], learned[kind], strict=True)
            # What the plan took the label of each view to be is what the step will make of it.
            planned = targets_of({head: tiny.HEADS[head]}, *about[:2], drawn, views="fourteen")
            made = np.where(mirrored, part["mirrored"][head], part["labels"][head])
            np.testing.assert_array_equal(planned[head], made, strict=True)
    plain = next(iter(some_batches(examples, plans_of_records(small), count=1)))
    assert all("transform" not in part for part in plain.values())


def plans_of_records(small):
    return make_plans(
        tiny.HEADS,
        small.dataset.labels,
        small.dataset.cameras,
        small.dataset.ids("train"),
        balance=Balance("v2"),
        seed=0,
        batch_size=16,
    )
