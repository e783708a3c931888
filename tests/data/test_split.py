"""Whatever the recording: held-out frames stay away from training ones, and nothing moves later."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jaxdrive.data import split as splitting
from jaxdrive.data.frames import Session
from jaxdrive.data.split import GAP, SPLITS, SplitRule
from jaxdrive.errors import UserError

seconds = st.floats(0, 30, allow_nan=False)
rules = st.builds(
    SplitRule,
    block_seconds=st.floats(0.1, 20),
    gap_seconds=seconds,
    validation=st.floats(0.05, 0.4),
    test=st.floats(0.05, 0.4),
)
# Clocks of TFDS features may begin below 0.
times = st.lists(st.floats(-50, 500), min_size=1, max_size=60).map(sorted)


def session(name: str, split: str | None = None, start: float | None = None) -> Session:
    return Session(name, split, (), images="", start=start)


def splits_of(name: str, moments, rule: SplitRule, start: float | None = None) -> np.ndarray:
    own = session(name, start=start)
    return splitting.splits_of([own], [np.asarray(moments, float)], rule)[0]


def assert_apart(moments, found, rule: SplitRule):
    for split in SPLITS:
        for other in set(SPLITS) - {split}:
            here, there = (np.array(moments)[found == s] for s in (split, other))
            # A rounding error is no leak.
            assert not (np.abs(here[:, None] - there) < rule.gap_seconds - 1e-6).any()


@given(st.text(max_size=5), times, rules)
@settings(max_examples=200, deadline=None)
def test_frames_of_different_splits_are_a_gap_apart(name, moments, rule):
    found = splits_of(name, moments, rule)
    assert set(found) <= {*SPLITS, GAP}
    assert_apart(moments, found, rule)


milliseconds = st.lists(st.integers(0, 500_000), min_size=1, max_size=60).map(sorted)


@given(st.integers(0, 2 * 10**12), milliseconds, st.integers(0, 59), rules)
@settings(max_examples=200, deadline=None)
def test_where_the_time_is_known_names_copies_and_cuts_move_nothing(start, moments, cut, rule):
    cut = moments[min(cut, len(moments) - 1)]
    whole = splits_of("monday", np.array(moments) / 1000, rule, start=start / 1000)
    # A copy, and what is left of it from some moment on.
    assert (splits_of("copy", np.array(moments) / 1000, rule, start=start / 1000) == whole).all()
    rest = [moment for moment in moments if moment >= cut]
    found = splits_of("rest", (np.array(rest) - cut) / 1000, rule, start=(start + cut) / 1000)
    assert (found == whole[-len(rest) :]).all()
    assert_apart(np.array(moments) / 1000, whole, rule)
    entire = SplitRule(0.0, rule.gap_seconds, rule.validation, rule.test)
    assert splits_of("a", [1.0], entire, start=5.0) == splits_of("b", [2.0], entire, start=5.0)


@given(st.text(max_size=5), times, rules)
@settings(max_examples=100, deadline=None)
def test_only_frames_near_another_split_are_left_out(name, moments, rule):
    """In the middle of a block that is longer than two gaps, every frame has a split."""
    assume(rule.block_seconds > 2 * rule.gap_seconds + 0.01)
    found = splits_of(name, moments, rule)
    into = np.mod(moments, rule.block_seconds)
    inner = (into > rule.gap_seconds + 1e-6) & (into < rule.block_seconds - rule.gap_seconds - 1e-6)
    assert GAP not in found[inner]
    without = SplitRule(rule.block_seconds, 0.0, rule.validation, rule.test)
    kept = found != GAP
    assert (splits_of(name, moments, without)[kept] == found[kept]).all()


@given(st.text(max_size=5), seconds, rules)
@settings(max_examples=50, deadline=None)
def test_without_blocks_a_session_is_in_one_split(name, time, rule):
    whole = SplitRule(0.0, rule.gap_seconds, rule.validation, rule.test)
    assert len(set(splits_of(name, [0.0, time, 10 * time], whole))) == 1


@given(st.sampled_from(SPLITS), seconds, rules)
@settings(max_examples=20, deadline=None)
def test_a_split_that_the_source_decided_stands(split, time, rule):
    found = splitting.splits_of([session("a", split)], [np.array([time])], rule)
    assert found[0].tolist() == [split]


@pytest.mark.parametrize("block_seconds", [0.0, 5.0])
def test_shares_are_those_that_were_asked_for(block_seconds):
    rule = SplitRule(block_seconds, 0.0, validation=0.2, test=0.1)
    if block_seconds:
        found = splits_of("a", np.arange(4000) * block_seconds, rule)
    else:
        laps = [session(f"lap {n}") for n in range(4000)]
        found = np.concatenate(splitting.splits_of(laps, [np.array([1.0])] * len(laps), rule))
    for split, share in {"train": 0.7, "validation": 0.2, "test": 0.1}.items():
        # Four standard deviations of so many draws.
        assert (found == split).mean() == pytest.approx(share, abs=0.03)


def test_where_frames_go_is_fixed_for_good():
    """Prepared datasets and reported numbers stand on it."""
    rule = SplitRule(5.0, 1.0, validation=0.2, test=0.2)
    found = splits_of(".", np.arange(0.5, 60), rule).tolist()
    letters = {"train": "r", "validation": "v", "test": "t", GAP: "-"}
    told = "".join(letters[split] for split in found)
    assert told == "rrrr--ttt--vvv--rrrrrrrrrrrrr--ttt--rrr--ttt--rrr--ttttttttt"
    found = splits_of(".", np.arange(0.5, 60), rule, start=1550377012.0).tolist()
    assert "".join(letters[split] for split in found) == (
        "rrrrrrr--vvvvvvvv--rrrrrrrr--ttt--rrrrrrrrrrrrrrrrrr--vvv--r"
    )


folds = st.integers(3, 6)
sessions_with_times = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 3000).map(float)),
        st.lists(st.integers(0, 200_000), min_size=1, max_size=40),
    ),
    min_size=1,
    max_size=4,
)


def folded(recordings, block: float, gap: float, count: int) -> list[np.ndarray]:
    """By fold, the splits of all frames of recordings of (start, milliseconds)."""
    own = [session(f"run {n}", start=start) for n, (start, _) in enumerate(recordings)]
    times = [np.sort(moments) / 1000 for _, moments in recordings]
    rules = [SplitRule(block, gap, 0.1, 0.1, count, fold) for fold in range(count)]
    return [np.concatenate(splitting.splits_of(own, times, rule)) for rule in rules]


@given(sessions_with_times, st.floats(0.5, 20), folds)
@settings(max_examples=200, deadline=None)
def test_every_frame_is_tested_in_one_fold_and_validates_the_fold_before(recordings, block, count):
    try:
        found = np.stack(folded(recordings, block, 0.0, count))
    except UserError:
        # Too few blocks.
        assume(False)
    assert ((found == "test").sum(axis=0) == 1).all()
    assert (np.roll(found == "test", -1, axis=0) == (found == "validation")).all()
    assert set(found.ravel()) == set(SPLITS)


@given(st.integers(1, 60), folds)
def test_folds_have_equally_many_blocks(blocks, count):
    assume(blocks >= count)
    found = np.stack(folded([(7.0, range(0, 1000 * blocks, 1000))], 1.0, 0.0, count))
    sizes = (found == "test").sum(axis=1)
    assert sizes.max() - sizes.min() <= 1


@given(sessions_with_times, st.floats(0.5, 20), seconds, folds)
@settings(max_examples=100, deadline=None)
def test_folds_are_a_gap_apart_and_a_later_session_moves_no_frame(recordings, block, gap, count):
    # Only a shared clock tells that a session is later.
    recordings = [(start or 0.0, moments) for start, moments in recordings]
    later = max(start + max(moments) / 1000 for start, moments in recordings) + block + gap + 1
    try:
        before = folded(recordings, block, gap, count)
    except UserError:
        assume(False)
    for rule_splits in before:
        moments = np.concatenate([start + np.sort(moments) / 1000 for start, moments in recordings])
        rule = SplitRule(block, gap, 0.1, 0.1)
        assert_apart(moments, rule_splits, rule)
    after = folded([*recordings, (later, [0, 5000])], block, gap, count)
    for old, new in zip(before, after, strict=True):
        assert (new[: len(old)] == old).all()


@pytest.mark.parametrize("split", [None, "train"])
def test_fewer_blocks_than_folds_are_refused(split):
    own, rule = [session("a", split)], SplitRule(1.0, 0.0, 0.1, 0.1, 5, 0)
    blocks = 0 if split else 4
    with pytest.raises(UserError, match=rf"folds=5: the recordings have {blocks} blocks .* Lower"):
        splitting.splits_of(own, [np.arange(4.0)], rule)


def test_whole_sessions_are_dealt_in_the_order_of_their_starts():
    own = [
        session(name, start=start) for name, start in zip("abcdef", (5, 3, 1, 4, 2, 0), strict=True)
    ]
    own.append(session("decided", "train", start=9.0))
    found = splitting.splits_of(own, [np.zeros(2)] * 7, SplitRule(0.0, 0.0, 0.1, 0.1, 3, 1))
    splits = ["validation", "train", "test", "test", "validation", "train", "train"]
    assert [own.tolist() for own in found] == [[split] * 2 for split in splits]
