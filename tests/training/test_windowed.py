"""The windowed error, against a plain loop, and what it has to say of drivers known to be good."""

import json
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdrive.errors import UserError
from jaxdrive.training import windowed

RATE = 20


def recording(times, sessions=None):
    """What the measure needs of a dataset: times and sessions of all its frames."""
    times = np.asarray(times, float)
    names = np.full(len(times), "a") if sessions is None else np.asarray(sessions)
    return types.SimpleNamespace(times=times, sessions=names)


def means_of(times, labels, predictions, seconds=1.0, sessions=None):
    dataset = recording(times, sessions)
    ids = np.arange(len(dataset.times), dtype=np.int32)
    return windowed.window_means(dataset, ids, np.asarray(labels), np.asarray(predictions), seconds)


def plain_means(times, values, seconds):
    """Frame by frame: a window begins with a run, and with each further `seconds` of it."""
    windows, start, last = {}, None, None
    for time, value in zip(times, values, strict=True):
        if last is None or time - last > 0.5:
            start = time
        windows.setdefault((start, np.floor((time - start) / seconds)), []).append(value)
        last = time
    least = 0.5 * seconds / np.median(np.diff(times))
    return [np.mean(own) for own in windows.values() if len(own) >= least]


# Frames at 20 a second, of which some are missing, with pauses of 1 to 3 s.
steps = st.lists(st.sampled_from([1, 1, 1, 1, 1, 1, 2, 20, 47]), min_size=60, max_size=200)


@given(steps, st.integers(0, 5), st.sampled_from(windowed.WINDOWS))
def test_windows_are_those_of_a_plain_loop(counts, seed, seconds):
    times = np.cumsum(counts) / RATE + 0.001
    labels, predictions = np.random.default_rng(seed).normal(size=(2, len(times)))
    found = means_of(times, labels, predictions, seconds)
    np.testing.assert_allclose(found.labels, plain_means(times, labels, seconds), atol=1e-12)
    np.testing.assert_allclose(
        found.predictions, plain_means(times, predictions, seconds), atol=1e-12
    )
    assert (np.diff(found.units) >= 0).all()


def test_the_order_of_records_and_of_sessions_does_not_matter():
    times, sessions = np.tile(np.arange(100) / RATE, 2), ["b"] * 100 + ["a"] * 100
    labels, predictions = np.random.default_rng(0).normal(size=(2, 200))
    plain = windowed.score(means_of(times, labels, predictions, sessions=sessions))
    order = np.random.default_rng(1).permutation(200)
    mixed = [np.asarray(column)[order] for column in (times, labels, predictions, sessions)]
    other = windowed.score(means_of(*mixed[:3], sessions=mixed[3]))
    for name in ("windows", "rmse", "ratio", "r2", "correlation"):
        assert other[name] == pytest.approx(plain[name])
    assert plain["windows"] == 10


def presses(count):
    """A driver's path, a slow sine, steered smoothly and in presses of a key."""
    times = np.arange(count) / RATE
    smooth = 0.15 * np.sin(times)
    owed, keys = 0.0, []
    for wanted in smooth:
        owed += wanted
        key = 0.5 * np.sign(owed) if abs(owed) > 0.5 else 0.0
        owed -= key
        keys.append(key)
    return times, smooth, np.array(keys)


def test_a_smooth_driver_of_the_same_path_is_good_though_single_frames_say_otherwise():
    times, smooth, keys = presses(4000)
    absolute = [np.abs(keys - answer).mean() for answer in (smooth, 0 * smooth)]
    assert absolute[0] > absolute[1]
    found = windowed.score(means_of(times, keys, smooth))
    assert found["ratio"] < 0.35
    assert found["interval"][0] < found["ratio"] < found["interval"][1]
    assert found["r2"] > 0.85
    assert found["correlation"] > 0.9


def test_straight_on_and_the_labels_themselves():
    times, _, keys = presses(4000)
    straight = windowed.score(means_of(times, keys, 0 * keys))
    assert straight["ratio"] == pytest.approx(1)
    assert straight["interval"] == pytest.approx([1, 1])
    assert straight["correlation"] is None
    perfect = windowed.score(means_of(times, keys, keys))
    assert (perfect["ratio"], perfect["r2"]) == (0, 1)
    assert perfect["correlation"] == pytest.approx(1)


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(60):
        # Errors that stay for ten seconds, as a misread bend does; the true ratio is 0.5.
        labels = np.repeat(generator.normal(size=60), 10 * RATE)
        errors = np.repeat(generator.normal(scale=0.5, size=60), 10 * RATE)
        found = windowed.score(means_of(np.arange(len(labels)) / RATE, labels, labels + errors))
        hits += found["interval"][0] <= 0.5 <= found["interval"][1]
    # 90 % of 60 is 54; four standard deviations are 9.
    assert hits >= 45


def test_without_windows_or_bends_nothing_is_said():
    few = windowed.score(means_of([0.0, 0.05, 9.0, 9.05], np.ones(4), np.ones(4)))
    assert (few["windows"], few["ratio"]) == (0, None)
    zeros = windowed.score(means_of(np.arange(100) / RATE, np.zeros(100), np.ones(100)))
    assert (zeros["windows"], zeros["ratio"], zeros["r2"]) == (5, None, None)
    one = windowed.score(means_of(np.arange(20) / RATE, np.ones(20), np.full(20, 0.5)))
    assert (one["windows"], one["ratio"], one["interval"], one["r2"]) == (1, 0.5, None, None)
    (line,) = windowed.lines({"steering": [{"seconds": 2.0, **one}]})
    assert line == (
        "steering, means over 2 s: 0.50 of straight on (no interval: 1 stretch of 10 s, of at least"
        " 5), error 0.500, R2 unknown, correlation unknown"
    )
    told = [windowed.ratio_text({"seconds": 1.0, **found}) for found in (zeros, few)]
    assert told == [
        "unknown: the driver never steered in these windows",
        "unknown: these images cover no window of 1 s",
    ]


def test_who_always_answers_the_mean_beats_straight_on_and_not_the_best_constant():
    """A road that turns to one side: the trap of a ratio beside straight on alone."""
    times = np.arange(120 * RATE) / RATE
    labels = 0.3 + 0.05 * np.sin(times)
    found = windowed.score(means_of(times, labels, np.full(len(times), labels.mean())))
    assert found["interval"][1] < 0.5
    assert found["constant_ratio"] == pytest.approx(1, abs=1e-9)
    assert found["constant_interval"] == pytest.approx([1, 1], abs=1e-9)


@pytest.mark.parametrize("count", [0, 20, 2400])
def test_what_is_logged_says_the_same_as_what_was_measured(count):
    times, _, keys = presses(count)
    found = {"seconds": 1.0, **windowed.score(means_of(times, keys, 0.5 * keys))}
    line = json.loads(json.dumps({"step": 3, **windowed.logged("steering", found)}))
    assert windowed.ratio_text(windowed.from_logged("steering", line)) == windowed.ratio_text(found)
    assert windowed.from_logged("brake", line) is None


@pytest.mark.parametrize(
    ("label", "told"),
    [([0.0] * 10, "have 0 windows"), ([0.5] * 100, "have 5 windows with one label"), (None, None)],
)
def test_a_recording_whose_windows_cannot_choose_a_checkpoint_is_refused(label, told):
    labels = np.sin(np.arange(100)) if label is None else np.array(label)
    dataset = recording(np.arange(len(labels)) / RATE / (10 if len(labels) < 20 else 1))
    dataset.labels = {"steering": labels}
    heads = {"steering": types.SimpleNamespace(label="steering", mirror=-1.0)}
    ids = np.arange(len(labels))
    for best_by in ("natural", "steering:natural"):
        windowed.check_windows(best_by, heads, dataset, ids)
    if told is None:
        windowed.check_windows("steering:windowed", heads, dataset, ids)
    else:
        with pytest.raises(UserError, match=told):
            windowed.check_windows("steering:windowed", heads, dataset, ids)
