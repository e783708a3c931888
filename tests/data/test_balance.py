"""Plans are exact, whatever the table: balanced in every run of draws, complete in every pass."""

import concurrent.futures
import dataclasses
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxdrive.bins import Bins
from jaxdrive.data.balance import MODES, Balance, check_balance, make_plans, resolve_supervise
from jaxdrive.data.joint import PASSES
from jaxdrive.errors import UserError
from jaxdrive.heads import Head

EDGES = tuple(tenth / 10 for tenth in range(-10, 11))
STEERING = Head("steering", "angle", 0.5, -1.0, 1.0, Bins(edges=EDGES, atoms=(0.0,)), "rad")
HEADS = {
    "steering": STEERING,
    "throttle": Head("throttle", "pedal", 1.0, 0.0, 1.0, Bins((0, 1)), ""),
}

JOINT = {
    "steering": Head(
        "steering", "angle", 0.5, -1, 1, Bins((-1, -0.6, 0, 0.6, 1), (-1, 0, 1)), "rad"
    ),
    "throttle": Head("throttle", "pedal", 1.0, 0, 1, Bins((0, 0.2, 0.8, 1), (0, 1)), ""),
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
    plans = make_plans(
        {head.name: head},
        {head.name: labels},
        centre(labels),
        ids,
        balance=Balance(mode),
        seed=seed,
        batch_size=batch_size,
    )
    return plans[head.name]


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


@st.composite
def joint_tables(draw, largest: int = 24):
    """Labels of a table by name, as drawn by two heads with few bins: any combination may lack."""
    size = draw(st.integers(1, largest))
    columns = {
        "steering": st.sampled_from([-0.5, -0.2, 0.0, 0.1, 0.5]),
        "throttle": st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    }
    return {
        name: np.array(draw(st.lists(values, min_size=size, max_size=size)), np.float32)
        for name, values in columns.items()
    }


def joint_plans(labels, *, mode, batch_size=8, seed=0):
    ids = np.arange(len(labels["steering"]), dtype=np.int32)
    return make_plans(
        JOINT, labels, centre(ids), ids, balance=Balance(mode), seed=seed, batch_size=batch_size
    )


@given(joint_tables(), st.integers(1, 30), st.integers(0, 2**31))
@example({"steering": np.zeros(3, np.float32), "throttle": np.zeros(3, np.float32)}, 2, 0)
@settings(max_examples=100, deadline=None)
def test_v1_draws_every_combination_once_a_run_over_the_batches_of_all_heads(
    labels, batch_size, seed
):
    # The combinations, named without the code under test: -0.2 and 0.1 have bins of their own.
    names = np.array(
        [f"{a} {p}" for a, p in zip(labels["steering"], labels["throttle"], strict=True)]
    )
    combinations = {name: np.flatnonzero(names == name) for name in set(names)}
    plans = joint_plans(labels, mode="v1", batch_size=batch_size, seed=seed)
    largest = max(map(len, combinations.values()))
    batches = -(-2 * largest * len(combinations) // (2 * batch_size))
    drawn = np.concatenate(
        [plans[head].draw(position) for position in range(batches) for head in JOINT]
    )
    runs = drawn[: len(drawn) // len(combinations) * len(combinations)]
    for run in runs.reshape(-1, len(combinations)):
        assert sorted(names[run]) == sorted(combinations)
    for name, records in combinations.items():
        of_it = drawn[names[drawn] == name]
        for start in range(0, len(of_it) - len(records) + 1, len(records)):
            assert sorted(of_it[start : start + len(records)]) == records.tolist()


@given(joint_tables(), st.integers(1, 30))
@settings(max_examples=50, deadline=None)
def test_v3_draws_what_v2_does(labels, batch_size):
    second, third = (joint_plans(labels, mode=mode, batch_size=batch_size) for mode in ("v2", "v3"))
    for head in JOINT:
        assert second[head].draw(5).tolist() == third[head].draw(5).tolist()
    own = [mode for mode in MODES if resolve_supervise(mode, "auto") == "own"]
    assert own == ["none", "v2"]
    assert resolve_supervise("v4", "own") == "own"


@given(joint_tables(), st.integers(1, 30), st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_v4_draws_own_bins_once_a_run_and_all_frames_while_the_others_come_out_evener(
    labels, batch_size, seed
):
    plans = joint_plans(labels, mode="v4", batch_size=batch_size, seed=seed)
    plain = joint_plans(labels, mode="v2")
    for head, other in (("steering", "throttle"), ("throttle", "steering")):
        own = labels[head]
        bins = {value: np.flatnonzero(own == value) for value in set(own.tolist())}
        drawn = draw_many(plans[head], len(bins) * PASSES * max(map(len, bins.values())))
        for run in drawn[: len(drawn) // len(bins) * len(bins)].reshape(-1, len(bins)):
            assert sorted(own[run]) == sorted(bins)
        for value, records in bins.items():
            a_pass = drawn[own[drawn] == value][: PASSES * len(records)]
            assert set(a_pass) == set(records.tolist())
        entropies = [
            entropy_of(labels[other], plan.shares(len(own))) for plan in (plain[head], plans[head])
        ]
        # Weights become whole numbers of draws, which costs the smallest bins a little.
        assert entropies[1] >= entropies[0] - 0.05


def entropy_of(labels, shares) -> float:
    parts = np.array([shares[labels == value].sum() for value in set(labels.tolist())])
    return float(-(parts * np.log(parts)).sum())


@given(tables(), st.integers(1, 30), st.sampled_from(MODES), st.randoms())
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
    for mode in ("none", "v2", "v4"):
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


def test_each_head_balances_its_own_label():
    labels = {
        "steering": np.array([0.0] * 8 + [0.5] * 2, np.float32),
        "throttle": np.linspace(0, 1, 10, dtype=np.float32),
    }
    ids = np.arange(10, dtype=np.int32)
    plans = make_plans(
        HEADS, labels, centre(ids), ids, balance=Balance("v2"), seed=0, batch_size=20
    )
    assert (plans["steering"].draw(0) >= 8).sum() == 10
    assert sorted(plans["throttle"].draw(0)) == sorted([*range(10)] * 2)


def test_a_frame_is_binned_by_its_corrected_label():
    head = dataclasses.replace(STEERING, corrections={"left": 0.25, "right": -0.25})
    labels, ids = np.zeros(3, np.float32), np.arange(3, dtype=np.int32)
    cameras = np.array(["center", "left", "right"])
    for mode in ("v1", "v2"):
        plans = make_plans(
            {"steering": head},
            {"steering": labels},
            cameras,
            ids,
            balance=Balance(mode),
            seed=0,
            batch_size=3,
        )
        assert [records.tolist() for records in plans["steering"].bins] == [[2], [0], [1]]


def test_what_cannot_be_drawn_is_refused():
    labels, ids = ONE_BIN
    with pytest.raises(UserError, match=r"config\.balance='v9' is not known: one of none, v1"):
        check_balance(Balance("v9"), "own")
    with pytest.raises(UserError, match=r"config\.supervise='each' is not known: one of auto, own"):
        check_balance(Balance("v2"), "each")
    with pytest.raises(UserError, match=r"config\.supervise='own' it would be 'v2', so name that"):
        check_balance(Balance("v3"), "own")
    with pytest.raises(UserError, match="no training frames"):
        plan_of(labels, ids[:0])
