"""Losses, errors and skills against plain numpy, in one piece and merged from parts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdrive.bins import Bins, bin_index
from jaxdrive.heads import Head
from jaxdrive.training.metrics import HeadMetrics, mean_skill, score, scores_of, spread, table

N = 24
TENTHS = tuple(tenth / 10 for tenth in range(-10, 11))
STEERING = Head("steering", "angle", 0.4, -1.0, 1.0, Bins(edges=TENTHS, atoms=(0.0,)), "rad")


@pytest.fixture(autouse=True)
def _strict_promotion():
    with jax.numpy_dtype_promotion("strict"):
        yield


def measured(predictions, targets, mask=None) -> HeadMetrics:
    mask = np.ones(len(targets), bool) if mask is None else mask
    arrays = jnp.asarray(predictions, jnp.float32), jnp.asarray(targets, jnp.float32)
    return jax.device_get(HeadMetrics.from_outputs(STEERING, *arrays, jnp.asarray(mask)))


def test_where_no_example_counts_there_is_nothing_to_tell():
    nothing = measured(np.ones(3), np.zeros(3), np.zeros(3, bool))
    told = nothing.compute()
    assert sum(told.pop("drawn")) == 0
    assert set(told.values()) == {None}
    assert spread([nothing]) is None
    something = measured([0.1, 0.3], [0.2, 0.6])
    assert spread([nothing, something]) == spread([something]) == pytest.approx(0.5)
    assert nothing.merge(something).compute() == something.compute()


# Tenths lie on the edges of bins, where float32 and float64 easily disagree.
numbers = st.lists(
    st.integers(-10, 10).map(lambda tenth: tenth / 10)
    | st.floats(-1, 1, width=32, allow_subnormal=False),
    min_size=N,
    max_size=N,
)
masks = st.lists(st.booleans(), min_size=N, max_size=N).filter(any)


@given(numbers, numbers, masks)
@settings(max_examples=50, deadline=None)
def test_metrics_are_those_of_the_unmasked_rows(predictions, targets, mask):
    found = measured(predictions, targets, mask).compute()
    rows = np.array(mask)
    p, t = (np.asarray(values, np.float32).astype(float)[rows] for values in (predictions, targets))
    assert found["mse"] == pytest.approx(((p - t) ** 2).mean(), rel=1e-5, abs=1e-12)
    assert found["loss"] == found["mse"]
    assert found["mae"] == pytest.approx(np.abs(p - t).mean(), rel=1e-5, abs=1e-12)
    counts = np.bincount(bin_index(STEERING.bins, np.array(targets)[rows]), minlength=21)
    assert found["drawn"] == counts.tolist()
    if t.std() > 0.02:
        skill = 1 - ((p - t) ** 2).sum() / ((t - t.mean()) ** 2).sum()
        assert found["skill"] == pytest.approx(skill, rel=1e-3, abs=1e-3)


@given(numbers, numbers, st.lists(st.integers(0, 3), min_size=N, max_size=N), masks)
@settings(max_examples=50, deadline=None)
def test_parts_merged_are_the_whole(predictions, targets, part_of_row, mask):
    parts = [
        measured(predictions, targets, np.array(mask) & (np.array(part_of_row) == part))
        for part in range(4)
    ]
    merged = functools.reduce(lambda a, b: a.merge(b), parts)
    whole = measured(predictions, targets, mask)
    for one, other in zip(jax.tree.leaves(merged), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    assert merged.compute()["drawn"] == whole.compute()["drawn"]


def test_parts_merge_on_the_device_as_on_the_host():
    generator = np.random.default_rng(0)
    arrays = [jnp.asarray(generator.uniform(-1, 1, (2, N)), jnp.float32) for _ in range(2)]

    @jax.jit
    def on_device(predictions, targets):
        one, other = (
            HeadMetrics.from_outputs(STEERING, predictions[i], targets[i], jnp.ones(N, bool))
            for i in range(2)
        )
        return one.merge(other)

    on_host = measured(arrays[0][0], arrays[1][0]).merge(measured(arrays[0][1], arrays[1][1]))
    expected = on_host.compute()
    found = jax.device_get(on_device(*arrays)).compute()
    assert found["drawn"] == expected["drawn"]
    for name in ("mse", "mae", "skill"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5)


@pytest.mark.parametrize("constant", [0.0, 0.1, 0.3, -0.7, 1.0])
@pytest.mark.parametrize("steps", [1, 100, 2000])
def test_constant_labels_have_no_skill_however_many_steps_are_merged(constant, steps):
    predictions = np.random.default_rng(0).uniform(-1, 1, 64)
    one = measured(predictions, np.full(64, constant))
    found = functools.reduce(lambda a, b: a.merge(b), [one] * steps).compute()
    assert found["skill"] is None
    assert found["mse"] == pytest.approx(((predictions - constant) ** 2).mean(), rel=1e-4)
    assert sum(found["drawn"]) == 64 * steps


def test_labels_that_hardly_move_still_have_skill():
    targets = 0.5 + 0.01 * np.random.default_rng(0).standard_normal(64)
    assert measured(targets, targets).compute()["skill"] == pytest.approx(1.0)
    mean = measured(np.full(64, targets.mean()), targets).compute()["skill"]
    assert mean == pytest.approx(0.0, abs=0.02)


def test_bins_are_counted_in_float32_whatever_the_network_computes_in():
    targets = np.array(TENTHS, np.float32)
    expected = np.bincount(bin_index(STEERING.bins, targets), minlength=21).tolist()
    with jax.enable_x64(True):
        for dtype in (jnp.bfloat16, jnp.float32, jnp.float64):
            predictions = jnp.zeros(len(targets), dtype)
            found = HeadMetrics.from_outputs(
                STEERING, predictions, jnp.asarray(targets), jnp.ones(len(targets), bool)
            )
            assert found.compute()["drawn"] == expected


def test_a_classification_is_told_by_its_loss_and_by_its_decoded_predictions():
    """Logits of two thirds for the target's bin, one third for the first or the last bin."""
    bins = Bins((-1.0, -0.5, 0.0, 0.5, 1.0), (0.0,))
    targets = np.array([-0.9, -0.25, 0.0, 0.1, 0.75], np.float32)
    other = [4, 4, 4, 0, 0]
    logits = np.full((5, 5), -100.0, np.float32)
    logits[range(5), other], logits[range(5), range(5)] = np.log(1 / 3), np.log(2 / 3)
    centres = np.array([-0.75, -0.25, 0.0, 0.25, 0.75])
    for decode, predictions in (
        ("expectation", 2 / 3 * centres + centres[other] / 3),
        ("argmax", centres),
    ):
        head = dataclasses.replace(STEERING, bins=bins, kind="classification", decode=decode)
        arrays = jnp.asarray(logits), jnp.asarray(targets), jnp.ones(5, bool)
        found = jax.device_get(HeadMetrics.from_outputs(head, *arrays)).compute()
        assert found["drawn"] == [1] * 5
        assert found["loss"] == pytest.approx(np.log(1.5), rel=1e-5)
        assert found["mse"] == pytest.approx(np.square(predictions - targets).mean(), rel=1e-5)
        assert found["mae"] == pytest.approx(np.abs(predictions - targets).mean(), rel=1e-5)
        assert found["skill"] == pytest.approx(1 - found["mse"] / targets.var(), rel=1e-4)


def naive_score(predictions, labels, weights) -> dict[str, float | None]:
    """Weighted mse, mae and skill, one frame after the other; labels in radians."""
    total = sum(weights)
    aims = [min(max(label / 0.4, -1), 1) for label in labels]
    mean = sum(w * a for w, a in zip(weights, aims, strict=True)) / total
    mse = mae = constant = 0.0
    for p, a, w in zip(predictions, aims, weights, strict=True):
        mse += w / total * (p - a) ** 2
        constant += w / total * (mean - a) ** 2
        mae += w / total * abs(min(max(p, -1), 1) * 0.4 - a * 0.4)
    skill = 1 - mse / constant if constant > 1e-9 else None
    return {"mse": mse, "mae": mae, "skill": skill}


# Centres of bins of the target, 0, and labels beyond the range.
label_numbers = st.lists(st.integers(-11, 11), min_size=1, max_size=30)


@given(label_numbers, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_scores_are_those_of_a_naive_count(numbers_of_bins, random):
    labels = [(n - 0.5 * np.sign(n)) * 0.04 for n in numbers_of_bins]
    predictions = [random.uniform(-1.2, 1.2) for _ in labels]
    bins = [10 + max(-10, min(10, n)) for n in numbers_of_bins]
    found = score(STEERING, np.array(predictions, np.float32), np.array(labels, np.float32))
    weights = {
        "natural": [1.0] * len(labels),
        "balanced": [1 / bins.count(index) for index in bins],
    }
    for kind, of_frames in weights.items():
        expected = naive_score(predictions, labels, of_frames)
        assert found[kind].keys() == expected.keys()
        for name, value in expected.items():
            assert found[kind][name] == (
                None if value is None else pytest.approx(value, rel=1e-4, abs=1e-6)
            )
    assert len(found["bins"]) == 21
    for index, told in enumerate(found["bins"]):
        rows = [row for row, where in enumerate(bins) if where == index]
        assert told["frames"] == len(rows)
        errors = (
            naive_score(
                [predictions[row] for row in rows], [labels[row] for row in rows], [1.0] * len(rows)
            )
            if rows
            else {"mae": None}
        )
        assert told["mae"] == (pytest.approx(errors["mae"], rel=1e-4, abs=1e-6) if rows else None)
    assert (found["bins"][0]["text"], found["bins"][10]["text"]) == ("-0.4 to -0.36", "exactly 0")
    assert (found["bins"][20]["low"], found["bins"][20]["high"]) == pytest.approx((0.36, 0.4))


def frames_of_a_lap() -> np.ndarray:
    """Labels: 90 % straight, some bends."""
    generator = np.random.default_rng(3)
    return np.where(generator.random(500) < 0.9, 0, generator.uniform(-0.4, 0.4, 500)).astype("f4")


def test_a_perfect_prediction_has_skill_one():
    labels = frames_of_a_lap()
    found = score(STEERING, labels / np.float32(0.4), labels)
    for kind in ("natural", "balanced"):
        assert found[kind]["skill"] == 1.0
        assert found[kind]["mae"] == pytest.approx(0.0, abs=1e-7)


def test_the_best_constant_has_skill_zero_and_any_other_less():
    labels = frames_of_a_lap()
    targets = (labels / np.float32(0.4)).astype(float)
    frames = np.bincount(bin_index(STEERING.bins, targets), minlength=21)
    weights = 1 / frames[bin_index(STEERING.bins, targets)]
    for kind, constant in (
        ("natural", targets.mean()),
        ("balanced", np.average(targets, weights=weights)),
    ):
        skill = score(STEERING, np.full(500, constant), labels)[kind]["skill"]
        assert skill == pytest.approx(0.0, abs=1e-9)
        assert score(STEERING, np.full(500, constant + 0.1), labels)[kind]["skill"] < -1e-3


def test_a_label_that_is_constant_has_no_skill_and_is_left_out_of_the_mean():
    labels = {"angle": frames_of_a_lap()}
    heads = {"steering": STEERING, "brake": Head("brake", "pedal", 1, 0, 1, Bins((0, 1)), "")}
    predictions = {"steering": np.zeros(500, np.float32), "brake": np.full(500, 0.5, np.float32)}
    scores = scores_of(heads, predictions, labels | {"pedal": np.full(500, 0.7, np.float32)})
    natural = {head: values["natural"] for head, values in scores.items()}
    assert natural["brake"]["skill"] is None
    assert natural["brake"]["mae"] == pytest.approx(0.2)
    for count in range(1, 60):  # Some of them have a mean that is rounded.
        few = score(heads["brake"], np.zeros(count), np.full(count, 0.7, np.float32))
        assert few["natural"]["skill"] is few["balanced"]["skill"] is None
    assert mean_skill(natural) == natural["steering"]["skill"]
    assert mean_skill({"brake": natural["brake"]}) is None
    text = "\n".join(table(scores))
    assert "constant" in text
    assert f"{natural['steering']['skill']:.3f}" in text
