"""Folds are summed up as their frames together would be scored; means weigh folds, not seeds."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import default
from jaxdrive.evaluation import fold_summary
from jaxdrive.heads import Head, heads_from_config
from jaxdrive.training import metrics, windowed

HEAD = heads_from_config(default.get_config().heads.to_dict())["steering"]


def run_of(fold: int, seed: int, labels: np.ndarray, predictions: np.ndarray, head: Head = HEAD):
    """A run of one head, with a window for each frame."""
    means = windowed.Means(labels, predictions, np.arange(len(labels)))
    turns = head.mirror < 0
    return {
        "fold": fold,
        "seed": seed,
        "workdir": f"w/fold_{fold}_seed_{seed}",
        "seconds": 10.0 + seed,
        "step": 100 * (fold + 1) + seed,
        "frames": len(labels),
        "heads": {"one": metrics.score(head, predictions / head.scale, labels)},
        "windowed": {"one": [windowed.score(means)]} if turns else {},
        "side_cameras": {},
    }


@st.composite
def recordings(draw) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    """By fold its labels; by fold and seed its predictions. Some folds go straight on."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    sizes = draw(st.lists(st.integers(2, 30), min_size=3, max_size=6))
    seeds = draw(st.integers(1, 3))
    straight = draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)))
    labels = [
        np.zeros(size) if still else generator.uniform(-0.99, 0.99, size)
        for size, still in zip(sizes, straight, strict=True)
    ]
    labels[0][0] = 0.5
    return labels, [[generator.uniform(-0.99, 0.99, n) for _ in range(seeds)] for n in sizes]


@settings(deadline=None, max_examples=40)
@given(recordings())
def test_pooled_numbers_are_those_of_all_frames_together(recording):
    labels, predictions = recording
    runs = [
        run_of(fold, seed, labels[fold], predicted)
        for fold, own in enumerate(predictions)
        for seed, predicted in enumerate(own)
    ]
    found = fold_summary.summarise("test", runs)["heads"]["one"]
    all_labels = np.concatenate([labels[fold] for fold, own in enumerate(predictions) for _ in own])
    together = run_of(0, 0, all_labels, np.concatenate([p for own in predictions for p in own]))
    score, pooled = together["heads"]["one"], found["pooled"]
    np.testing.assert_allclose(pooled["natural_mae"], score["natural"]["mae"], rtol=1e-6)
    np.testing.assert_allclose(pooled["balanced_mae"], score["balanced"]["mae"], rtol=1e-6)
    (window,) = together["windowed"]["one"]
    np.testing.assert_allclose(pooled["windowed_ratio"], window["ratio"], rtol=1e-9)

    # The mean is that of folds that know a ratio, each the mean of its seeds.
    ratios = [
        np.mean([run["windowed"]["one"][0]["ratio"] for run in runs if run["fold"] == fold])
        for fold, own in enumerate(labels)
        if own.any()
    ]
    mean = found["mean"]["windowed_ratio"]
    assert mean["folds"] == len(ratios)
    np.testing.assert_allclose(mean["mean"], np.mean(ratios), rtol=1e-9)
    assert found["ahead"]["straight_on"] == sum(ratio < 1 for ratio in ratios)
    # Whatever the folds are, there is a table.
    assert fold_summary.table(fold_summary.summarise("test", runs))


@pytest.mark.parametrize(("count", "quantile"), [(2, 6.3138), (3, 2.9200), (5, 2.1318)])
def test_the_interval_is_student_s_of_the_printed_tables(count, quantile):
    values = np.arange(count) ** 2 / 7
    found = fold_summary.mean_interval([*values, None])
    error = np.sqrt(np.sum((values - values.mean()) ** 2) / (count - 1) / count)
    expected = values.mean() + quantile * error * np.array([-1, 1])
    np.testing.assert_allclose(found["interval"], expected, atol=1e-4)
    assert found["folds"] == count


def test_one_fold_has_no_interval_and_none_no_mean():
    assert fold_summary.mean_interval([0.5]) == {"mean": 0.5, "interval": None, "folds": 1}
    assert fold_summary.mean_interval([None]) == {"mean": None, "interval": None, "folds": 0}


def test_the_table_says_what_there_is_of_every_head():
    labels = np.array([0.4, -0.4, 0.2, -0.2])
    # By fold, how far two seeds are off: the first fold is worse than straight on.
    shares = {0: (1.5, 1.7), 1: (0.5, 0.7), 2: (0.2, 0.4)}
    runs = [
        run_of(fold, seed, labels, labels * (1 - share))
        for fold, own in shares.items()
        for seed, share in enumerate(own)
    ]
    result = fold_summary.summarise("validation", runs)
    lines = fold_summary.table(result)
    cells = [line.split("  ") for line in lines]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in cells]
    assert lines[0] == "3 folds, means of seeds 0, 1; every run scored on its validation blocks"
    assert ["0", "1.60", "0.480", "-1.57", "0.480", "-1.57", "100, 101", "10"] in cells
    assert [row[1] for row in cells if row[:1] == ["mean"]] == ["0.83"]
    assert [row[1] for row in cells if row[:1] == ["between seeds, std"]] == ["0.14"]
    assert "one: better than driving straight on in 2 of 3 folds, by means over 1 s" in lines
    assert (
        "one: better than the best constant in 2 of 3 folds, frame by frame (R2 above 0)" in lines
    )
    (interval,) = (row[1] for row in cells if row[:1] == ["90 % interval"])
    assert interval == "-0.31 to 1.98"
    assert any("chosen by these very blocks" in line for line in lines)

    # A pedal that was never touched: neither windows nor R2, but absolute errors.
    pedal = dataclasses.replace(HEAD, mirror=1.0)
    still = [run_of(fold, 0, np.zeros(4), np.full(4, 0.1), pedal) for fold in range(3)]
    lines = fold_summary.table(fold_summary.summarise("test", still))
    text = "\n".join(lines)
    assert "0.100" in text
    assert "straight on = 1" not in text
    assert "better than" not in text
    assert "very blocks" not in text
