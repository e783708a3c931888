"""Runs of other scales, bins and datasets are compared by the same truth, or with a warning."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdrive.bins import Bins
from jaxdrive.evaluation import compare, compare_facts
from jaxdrive.heads import Head
from jaxdrive.training import metrics
from tests.data import tiny

ABSENT = compare_facts.ABSENT
STEERING = tiny.HEADS["steering"]
# Range, scale and bins of another run for the same label.
OTHER = dataclasses.replace(
    STEERING, scale=2.0, bins=Bins(edges=(-1.0, 0.2, 1.0)), corrections={"left": 9.0}
)
# In the label's unit, on edges and between them; STEERING's range ends at 0.5.
LABELS = st.integers(-24, 24).map(lambda number: number / 40)
PAIRS = st.lists(st.tuples(LABELS, st.floats(-0.5, 0.5, width=16)), min_size=1, max_size=40)


def arrays(pairs) -> tuple[np.ndarray, np.ndarray]:
    labels, controls = zip(*pairs, strict=True)
    return np.array(labels, np.float32), np.array(controls, np.float32)


def bin_of(label: float) -> int:
    """The bin of STEERING that a label lies in, said in words of the label's unit."""
    label = round(label, 6)
    if label == 0:
        return 2
    edges = (-math.inf, -0.25, 0, 0.25, math.inf)
    # A border belongs to the side towards zero.
    if label < 0:
        return 0 if label < edges[1] else 1
    return 3 if label <= edges[3] else 4


def weighted(pairs, weights) -> dict:
    """mae, rmse and skill of (label, control) pairs, one by one."""
    total = sum(weights)
    mae = sum(w * abs(c - y) for (y, c), w in zip(pairs, weights, strict=True)) / total
    square = sum(w * (c - y) ** 2 for (y, c), w in zip(pairs, weights, strict=True)) / total
    mean = sum(w * y for (y, _), w in zip(pairs, weights, strict=True)) / total
    constant = sum(w * (y - mean) ** 2 for (y, _), w in zip(pairs, weights, strict=True)) / total
    skill = None if constant < 1e-9 else 1 - square / constant
    return {"mae": mae, "rmse": math.sqrt(square), "skill": skill}


def assert_alike(score: dict, expected: dict) -> None:
    for name in ("mae", "rmse"):
        assert score[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-6)
    assert (score["skill"] is None) == (expected["skill"] is None)
    if expected["skill"] is not None:
        assert score["skill"] == pytest.approx(expected["skill"], rel=1e-5, abs=1e-6)


@settings(deadline=None)
@given(PAIRS)
def test_the_fixed_distribution_is_what_it_says(pairs):
    labels, controls = arrays(pairs)
    # What float32 makes of them, so that both sides compute from the same numbers.
    pairs = list(zip(labels.tolist(), controls.tolist(), strict=True))
    score = compare.fixed_score(STEERING, STEERING, controls / np.float32(0.5), labels)
    bins = [bin_of(label) for label, _ in pairs]
    counts = [bins.count(number) for number in range(5)]
    assert [bin_["frames"] for bin_ in score["bins"]] == counts
    for number, bin_ in enumerate(score["bins"]):
        errors = [abs(c - y) for (y, c), own in zip(pairs, bins, strict=True) if own == number]
        assert (bin_["mae"] is None) == (not errors)
        if errors:
            assert bin_["mae"] == pytest.approx(sum(errors) / len(errors), abs=1e-7)
    weights = {"natural": [1] * len(pairs), "balanced": [1 / counts[number] for number in bins]}
    for kind, expected in ((kind, weighted(pairs, w)) for kind, w in weights.items()):
        assert_alike(score[kind], expected)


@settings(deadline=None)
@given(PAIRS)
def test_scale_range_and_bins_of_a_run_cancel_out(pairs):
    labels, controls = arrays(pairs)
    own = compare.fixed_score(STEERING, STEERING, controls / np.float32(STEERING.scale), labels)
    other = compare.fixed_score(STEERING, OTHER, controls / np.float32(OTHER.scale), labels)
    for kind in ("natural", "balanced"):
        assert_alike(other[kind], own[kind])
    assert [b["frames"] for b in other["bins"]] == [b["frames"] for b in own["bins"]]


def test_for_the_agreed_head_it_says_what_evaluate_says():
    generator = np.random.default_rng(0)
    labels = generator.uniform(-0.5, 0.5, 500).astype(np.float32)
    # Some lie outside of the range, where only the control is cut off.
    targets = (labels / 0.5 + generator.normal(0, 0.3, 500)).astype(np.float32)
    score = compare.fixed_score(STEERING, STEERING, targets, labels)
    expected = metrics.score(STEERING, targets, labels)
    for kind in ("natural", "balanced"):
        assert score[kind]["skill"] == pytest.approx(expected[kind]["skill"], rel=1e-6)
        assert score[kind]["mae"] == pytest.approx(expected[kind]["mae"], rel=1e-6)
        assert score[kind]["rmse"] == pytest.approx(0.5 * expected[kind]["mse"] ** 0.5, rel=1e-6)


def test_a_run_gains_nothing_by_a_narrow_range():
    labels = np.array([0.5, -0.5, 1.0, -1.0], np.float32)
    wide = compare.fixed_score(STEERING, OTHER, labels / 2, labels)
    narrow = compare.fixed_score(STEERING, STEERING, np.sign(labels), labels)
    assert wide["natural"] == {"mae": 0, "rmse": 0, "skill": 1}
    assert narrow["natural"]["mae"] == 0.25
    assert narrow["natural"]["skill"] < 1


def test_the_first_run_that_has_a_head_defines_it():
    throttle = tiny.HEADS["throttle"]
    heads = {"b": {"steering": OTHER}, "a": {"steering": STEERING, "throttle": throttle}}
    agreed, owners = compare.agreed_heads(heads)
    assert agreed == {"steering": OTHER, "throttle": throttle}
    assert owners == {"steering": "b", "throttle": "a"}


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/r/a", "/r/b"], ["a", "b"]),
        (["/r/a/seed1", "/r/b/seed1"], ["a", "b"]),
        (["/r/a/seed1", "/r/a/seed2", "/r/b/seed1"], ["a/seed1", "a/seed2", "b/seed1"]),
        (["/r/a", "/r/a/b"], ["a", "b"]),
        (["/r/a", "/r/x/a"], ["r", "x"]),
        (["gs://bucket/one/run", "/two/run"], ["one", "two"]),
    ],
)
def test_names_are_the_shortest_that_tell_apart(paths, names):
    assert compare_facts.short_names(paths) == names


def test_frames_are_the_same_where_session_time_and_labels_are(tmp_path):
    first = tiny.make(tmp_path / "first").dataset
    more = tiny.sessions_of(((9, "train"), *tiny.SESSIONS))
    # The same sessions behind another one, which shifts every record.
    named = [dataclasses.replace(s, name=n) for s, n in zip(more, "zabcd", strict=True)]
    named[1:] = tiny.sessions_of()
    longer = tiny.open_dataset(tiny.write(tmp_path / "longer", named))
    assert len(longer.cameras) == len(first.cameras) + 9
    labels = dict(first.labels)
    labels["steering"] = labels["steering"].copy()
    labels["steering"][first.driving_ids("test")[0]] += 0.1
    changed = dataclasses.replace(first, labels=labels)

    def numbers(*datasets, labels=("steering", "throttle"), split="test"):
        frames = [(dataset, dataset.driving_ids(split)) for dataset in datasets]
        return compare_facts.same_frames(frames, labels)

    assert numbers(first, longer, changed, first) == [1, 1, 2, 1]
    assert numbers(first, changed, labels=["throttle"]) == [1, 1]
    assert numbers(first, longer, split="validation") == [1, 1]
    assert numbers(first, longer, split="train") == [1, 2]
    later = dataclasses.replace(first, times=first.times + 1)
    assert numbers(first, later, split="test") == [1, 2]
    # Another order of the same records.
    ids = first.driving_ids("train")
    assert compare_facts.same_frames([(first, ids), (first, ids[::-1])], ["steering"]) == [1, 1]
    assert compare_facts.same_frames([(first, ids[:0]), (first, ids)], ["steering"]) == [None, 1]


def test_differences_are_all_there_and_nothing_else():
    one = {"seed": 0, "optim": {"name": "adam", "steps": []}, "heads": {"a": {"scale": 1}}}
    two = {"seed": 0, "optim": {"name": "sgd", "steps": [[5, 0.1]]}, "heads": {}, "new": None}
    assert compare_facts.differences([one, two]) == [
        {"field": "optim.name", "values": ["adam", "sgd"]},
        {"field": "optim.steps", "values": ["[]", "[[5, 0.1]]"]},
        {"field": "heads.a", "values": ["there", ABSENT]},
        {"field": "new", "values": [ABSENT, "null"]},
    ]
    assert compare_facts.differences([one, one]) == []


def test_a_head_of_one_run_is_no_contest():
    head = Head("gear", "gear", 1.0, 0.0, 1.0, Bins(edges=(0.0, 1.0)), "gear")
    score = compare.fixed_score(head, head, np.zeros(3, np.float32), np.zeros(3, np.float32))
    assert score["natural"] == {"mae": 0, "rmse": 0, "skill": None}
