"""Made-up key presses steer as much as was wanted, in presses, and change nothing else."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdrive.simulators.key_presses import PRESS_ABOVE, RAMP, TOP, KeyPresses, with_key_presses
from jaxdrive.simulators.recorder import record_episode

WANTED = st.lists(st.floats(-TOP, TOP), min_size=1, max_size=400)
FRAME_SECONDS = st.sampled_from([0.02, 0.04, 0.1])


def press(wanted, frame_seconds=0.04):
    presses = KeyPresses(frame_seconds=frame_seconds)
    return np.array([presses.step(steering) for steering in wanted])


@settings(deadline=None)
@given(wanted=WANTED, frame_seconds=FRAME_SECONDS)
def test_what_is_owed_stays_bounded_however_long_the_drive(wanted, frame_seconds):
    wanted = np.resize(wanted, 3000)
    owed = np.cumsum(np.subtract(wanted, press(wanted, frame_seconds))) * frame_seconds
    # It grows above the threshold only until the steering has gone from one key's to the other's.
    frames = math.ceil(2 * TOP / (RAMP * frame_seconds)) + 2
    assert np.all(np.abs(owed) <= PRESS_ABOVE + frames * 2 * TOP * frame_seconds)


@settings(deadline=None)
@given(wanted=WANTED, frame_seconds=FRAME_SECONDS)
def test_presses_stay_within_full_lock_follow_the_ramp_and_mirror(wanted, frame_seconds):
    levels = press(wanted, frame_seconds)
    assert np.all(np.abs(levels) <= TOP)
    assert np.all(np.abs(np.diff(levels, prepend=0.0)) <= RAMP * frame_seconds + 1e-12)
    np.testing.assert_array_equal(press(wanted, frame_seconds), levels)
    np.testing.assert_array_equal(press(np.negative(wanted), frame_seconds), -levels)


@settings(deadline=None)
@given(st.lists(st.floats(-0.02, 0.02), max_size=30))
def test_a_straight_needs_no_key(wanted):
    assert not press(wanted).any()


@settings(deadline=None)
@given(st.floats(0.02, 0.3), st.sampled_from([-1.0, 1.0]))
def test_a_bend_is_driven_by_short_presses_of_one_key_with_nothing_between(sharpness, side):
    levels = press(np.full(500, side * sharpness))
    assert np.mean(levels == 0.0) >= 0.4
    assert np.all(side * levels >= 0.0)
    lengths = [len(list(run)) for pressed, run in itertools.groupby(levels != 0.0) if pressed]
    assert max(lengths) <= 4
    assert np.mean(levels) == pytest.approx(side * sharpness, abs=0.005)


def test_only_the_steering_of_a_recording_changes():
    def record():
        return record_episode(seed=6, noise=0.2, action_repeat=2, max_steps=400)

    plain, pressed = list(record()), list(with_key_presses(record(), action_repeat=2))
    for one, other in zip(plain, pressed, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert (one.speed, one.time) == (other.speed, other.time)
        assert one.controls | {"steering": 0} == other.controls | {"steering": 0}
    wanted, steering = (
        np.array([snapshot.controls["steering"] for snapshot in snapshots])
        for snapshots in (plain, pressed)
    )
    np.testing.assert_array_equal(steering, press(wanted))
    assert np.mean(wanted == 0.0) < 0.1
    assert 0.5 < np.mean(steering == 0.0) < 0.8
