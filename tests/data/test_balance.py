"""Plans are exact, whatever the table: balanced in every run of draws, complete in every pass."""

import concurrent.futures
import dataclasses
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxdrive.data.balance import make_plan, make_plans, report
from jaxdrive.errors import UserError
from jaxdrive.heads import Bins, Head

EDGES = tuple(tenth / 10 for tenth in range(-10, 11))
STEERING = Head("steering", "angle", 0.5, -1.0, 1.0, Bins(edges=EDGES, atoms=(0.0,)), "rad")
HEADS = {
    "steering": STEERING,
    "throttle": Head("throttle", "pedal", 1.0, 0.0, 1.0, Bins((0, 1)), ""),
}


@st.composite
def tables(draw):
    """Labels of a table and the records of it to draw from: single-frame and empty bins abound.

    Labels are 0, the centres of the bins of width 0.05, and beyond the range.
    """
    numbers = np.array(draw(st.lists(st.integers(-11, 11), min_size=1, max_size=40)))
    labels = ((numbers - 0.5 * np.sign(numbers)) * 0.05).astype(np.float32)
    chosen = draw(st.sets(st.integers(0, len(labels) - 1), min_size=1))
    return labels, np.array(sorted(chosen), np.int32)


def bin_names(labels: np.ndarray) -> np.ndarray:
    """A name for the bin of every label, found without the code under test."""
    return np.array(
        [
            "zero" if label == 0 else f"{'+' if label > 0 else '-'}{math.ceil(abs(label) / 0.05)}"
            for label in np.clip(labels.astype(float), -0.5, 0.5)
        ]
    )


def centre(labels) -> np.ndarray:
    return np.full(len(labels), "center")


def plan_of(labels, ids, *, mode="v2", seed=0, batch_size=8, head=STEERING):
    return make_plan(head, labels, centre(labels), ids, mode=mode, seed=seed, batch_size=batch_size)


def draw_many(plan, at_least: int) -> np.ndarray:
    batches = -(-at_least // plan.batch_size)
    return np.concatenate([plan.draw(position) for position in range(batches)])


ONE_BIN = (np.full(5, 0.2, np.float32), np.arange(5, dtype=np.int32))
SINGLE_FRAMES = (np.array([-0.5, 0, 0.3], np.float32), np.arange(3, dtype=np.int32))


@given(tables(), st.integers(1, 70), st.integers(0, 2**31))
@example(ONE_BIN, 3, 0)
@example(SINGLE_FRAMES, 7, 0)
@settings(max_examples=200, deadline=None)
def test_every_run_of_draws_holds_each_bin_once_and_every_pass_each_frame(table, batch_size, seed):
    labels, ids = table
    names = bin_names(labels)
    bins = {name: ids[names[ids] == name] for name in set(names[ids])}
    largest = max(len(records) for records in bins.values())
    # Enough for two passes over the largest bin.
    drawn = draw_many(
        plan_of(labels, ids, seed=seed, batch_size=batch_size), 2 * largest * len(bins)
    )
    assert drawn.dtype == np.int32
    runs = drawn[: len(drawn) // len(bins) * len(bins)].reshape(-1, len(bins))
    assert len(runs) >= 2 * largest
    for run in runs:
        assert sorted(names[run]) == sorted(bins)
    for name, records in bins.items():
        of_bin = drawn[names[drawn] == name]
        for start in range(0, len(of_bin) - len(records) + 1, len(records)):
            assert sorted(of_bin[start : start + len(records)]) == records.tolist()


@given(tables(), st.integers(1, 70))
@settings(max_examples=100, deadline=None)
def test_without_balance_a_pass_holds_every_record_once(table, batch_size):
    labels, ids = table
    drawn = draw_many(plan_of(labels, ids, mode="none", batch_size=batch_size), 3 * len(ids))
    for start in range(0, 3 * len(ids), len(ids)):
        assert sorted(drawn[start : start + len(ids)]) == ids.tolist()


@given(tables(), st.integers(1, 30), st.sampled_from(["none", "v2"]), st.randoms())
@settings(max_examples=20, deadline=None)
def test_any_batch_can_be_drawn_at_any_time_by_anyone(table, batch_size, mode, random):
    arguments = {"mode": mode, "batch_size": batch_size, "seed": 3}
    plan = plan_of(*table, **arguments)
    in_order = [plan.draw(position).tolist() for position in range(12)]
    positions = list(range(12)) * 2
    random.shuffle(positions)
    shared, fresh = plan_of(*table, **arguments), plan_of(*table, **arguments)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        by_threads = list(pool.map(shared.draw, positions))
    for position, drawn in zip(positions, by_threads, strict=True):
        assert drawn.tolist() == fresh.draw(position).tolist() == in_order[position]


def test_order_is_random_and_differs_by_head_seed_pass_and_run():
    labels = np.linspace(-0.5, 0.5, 200, dtype=np.float32)
    ids = np.arange(200, dtype=np.int32)
    for mode in ("none", "v2"):
        orders = {
            "one": plan_of(labels, ids, mode=mode).draw(0),
            "another seed": plan_of(labels, ids, mode=mode, seed=1).draw(0),
            "another head": plan_of(
                labels,
                ids,
                mode=mode,
                head=Head("yaw", "angle", 0.5, -1, 1, STEERING.bins, ""),
            ).draw(0),
            "another batch": plan_of(labels, ids, mode=mode).draw(1),
        }
        assert len({tuple(order) for order in orders.values()}) == len(orders)
        again = plan_of(labels, ids, mode=mode).draw(0)
        np.testing.assert_array_equal(orders["one"], again)
    whole_pass = plan_of(labels, ids, mode="none", batch_size=200)
    assert (whole_pass.draw(0) != whole_pass.draw(1)).any()
    # If runs went through the bins in one order, each device's rows would see the same bins.
    runs = plan_of(labels, ids, batch_size=20)
    assert len({bin_names(labels[runs.draw(position)[:1]])[0] for position in range(40)}) > 5


def test_far_positions_cost_no_more_than_near_ones():
    ids = np.arange(50, dtype=np.int32)
    drawn = plan_of(np.linspace(-0.5, 0.5, 50, dtype=np.float32), ids).draw(10**12)
    assert len(set(drawn)) == 8


@given(tables(), st.sampled_from(["none", "v2"]))
@settings(max_examples=100, deadline=None)
def test_report_says_what_is_there_and_what_is_drawn(table, mode):
    labels, ids = table
    found = report({"steering": STEERING}, {"angle": labels}, centre(labels), ids, mode=mode)
    assert found["mode"] == mode
    told = found["heads"]["steering"]
    assert (told["label"], told["unit"]) == ("angle", "rad")
    assert [(b["low"], b["high"]) for b in told["bins"]] == [
        (low * 0.5, high * 0.5) for low, high in STEERING.bins.spans
    ]
    assert sum(b["frames"] for b in told["bins"]) == len(ids)
    names = bin_names(labels)
    # Whole runs and whole passes of either mode.
    count = len(ids) * len(set(names[ids]))
    drawn = names[draw_many(plan_of(labels, ids, mode=mode), count)[:count]]
    ordered = [*(f"-{n}" for n in range(10, 0, -1)), "zero", *(f"+{n}" for n in range(1, 11))]
    for name, part in zip(ordered, told["bins"], strict=True):
        frames, share = (names[ids] == name).sum(), (drawn == name).mean()
        assert part["frames"] == frames
        assert part["planned_share"] == pytest.approx(share)
        if frames:
            assert part["repeats_per_pass"] == pytest.approx(share * len(ids) / frames)
        else:
            assert part["repeats_per_pass"] is None


def test_each_head_balances_its_own_label():
    labels = {
        "angle": np.array([0.0] * 8 + [0.5] * 2, np.float32),
        "pedal": np.linspace(0, 1, 10, dtype=np.float32),
    }
    ids = np.arange(10, dtype=np.int32)
    plans = make_plans(HEADS, labels, centre(ids), ids, mode="v2", seed=0, batch_size=20)
    assert (plans["steering"].draw(0) >= 8).sum() == 10
    assert sorted(plans["throttle"].draw(0)) == sorted([*range(10)] * 2)


def test_a_frame_is_binned_by_its_corrected_label():
    head = dataclasses.replace(STEERING, corrections={"left": 0.25, "right": -0.25})
    labels, ids = np.zeros(3, np.float32), np.arange(3, dtype=np.int32)
    cameras = np.array(["center", "left", "right"])
    plan = make_plan(head, labels, cameras, ids, mode="v2", seed=0, batch_size=3)
    assert len(plan.bins) == 3
    found = report({"steering": head}, {"angle": labels}, cameras, ids, mode="v2")
    filled = [part["text"] for part in found["heads"]["steering"]["bins"] if part["frames"]]
    assert filled == ["-0.25 to -0.2", "exactly 0", "0.2 to 0.25"]


def test_what_cannot_be_drawn_is_refused():
    labels, ids = ONE_BIN
    with pytest.raises(UserError, match=r"config\.balance='v9' is not known: one of none, v2"):
        plan_of(labels, ids, mode="v9")
    with pytest.raises(UserError, match="no training frames"):
        plan_of(labels, ids[:0])
    with pytest.raises(UserError, match=r"'pedal'.* it has angle\. Change config\.heads\.throttle"):
        make_plans(HEADS, {"angle": labels}, centre(labels), ids, mode="v2", seed=0, batch_size=1)
