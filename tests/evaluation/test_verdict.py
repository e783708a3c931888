"""Which words are said of a head, and that "learned" is said only where it is earned."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdrive.evaluation import verdict
from jaxdrive.evaluation.wording import NO_SKILL

ONE = {
    "seconds": 1.0,
    "windows": 100,
    "stretches": 10,
    "ratio": 0.7,
    "interval": [0.6, 0.8],
    "constant_interval": [0.7, 0.9],
}


@pytest.mark.parametrize(
    ("changes", "words", "level"),
    [
        ({}, "learned: better than driving straight on", "good"),
        ({"interval": [0.8, 1.1]}, "not settled: the interval includes 1", "fair"),
        ({"interval": [1.0, 1.0]}, "not better than driving straight on", "poor"),
        ({"interval": [1.2, 1.4]}, "not better than driving straight on", "poor"),
        (
            {"constant_interval": [0.9, 1.1]},
            "not settled: the interval includes 1 beside the best constant",
            "fair",
        ),
        (
            {"constant_interval": [1.0, 1.1]},
            "better than straight on, but not than the best constant",
            "poor",
        ),
        (
            {"constant_interval": None},
            "not settled: not compared with the best constant",
            "unknown",
        ),
        (
            {"interval": None, "stretches": 2},
            "not settled: too few stretches for an interval",
            "unknown",
        ),
        ({"ratio": None, "interval": None}, "not settled: the driver never steered", "unknown"),
        ({"windows": 0, "ratio": None}, "not settled: too short for windows of 1 s", "unknown"),
        ({"ratio": math.nan}, "not a number: the training diverged", "poor"),
    ],
)
def test_words_for_windows(changes, words, level):
    # However high its skill on single images is.
    assert verdict.of_head([ONE | changes], 0.99) == (words, level)


BOUNDS = st.tuples(st.floats(0, 3), st.floats(0, 3)).map(sorted)


@given(BOUNDS, st.none() | BOUNDS, st.floats(-1, 1))
def test_learned_is_said_only_below_1_beside_both(interval, constant, skill):
    one = ONE | {"interval": interval, "constant_interval": constant}
    learned = verdict.of_head([one], skill).words.startswith("learned")
    assert learned == (interval[1] < 1 and constant is not None and constant[1] < 1)
    assert "learned" not in verdict.of_head(None, skill).words


@pytest.mark.parametrize(
    ("skill", "words", "level"),
    [
        (1.0, "better than the best constant", "good"),
        (verdict.CLEAR_SKILL, "better than the best constant", "good"),
        (verdict.CLEAR_SKILL - 1e-6, "slightly better than the best constant", "fair"),
        (verdict.WEAK_SKILL, "slightly better than the best constant", "fair"),
        (verdict.WEAK_SKILL - 1e-6, "no better than the best constant", "poor"),
        (-7.0, "no better than the best constant", "poor"),
        (None, NO_SKILL, "unknown"),
        (math.nan, "not a number: the training diverged", "poor"),
    ],
)
def test_words_for_skill(skill, words, level):
    assert verdict.of_head(None, skill) == (words, level)


def test_assumed_clocks_are_known_from_the_manifest():
    clock, none = {"start": 5.0}, {"start": None}
    donkey = {"frames_per_second": 20.0}

    def rate(settings, *sessions):
        return verdict.assumed_rate({"settings": settings, "sessions": list(sessions)})

    assert rate(donkey, clock) is None
    assert rate(donkey, clock, none) == 20
    assert rate(donkey | {"features": {"image": "image"}}, none) == 20
    assert rate(donkey | {"features": {"time": "time"}}, none) is None
    assert rate({}, none) is None
