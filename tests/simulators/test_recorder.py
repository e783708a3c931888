"""Recordings are pure functions of their arguments, and labels carry no noise."""

import itertools

import numpy as np
import pytest

from jaxdrive.simulators.car_racing import CarRacing
from jaxdrive.simulators.expert import Expert, ExpertSettings
from jaxdrive.simulators.recorder import SteeringNoise, record_episode


def test_the_same_arguments_give_the_same_snapshots():
    first, second = (
        list(record_episode(seed=4, noise=0.2, action_repeat=3, max_steps=100)) for _ in range(2)
    )
    assert len(first) == len(second) == 34
    assert [snapshot.time for snapshot in first] == pytest.approx(np.arange(34) * 0.06)
    for one, other in zip(first, second, strict=True):
        assert (one.image.shape, one.image.dtype) == ((96, 96, 3), np.uint8)
        np.testing.assert_array_equal(one.image, other.image)
        assert (one.controls, one.speed, one.time) == (other.controls, other.speed, other.time)
    assert (first[0].image != first[-1].image).any()


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_label_is_what_the_expert_wants_in_the_state_that_the_noise_has_led_to(noise):
    car = CarRacing()
    car.reset(6)
    expert = Expert(car, ExpertSettings())
    expert.reset()
    offsets = SteeringNoise(standard_deviation=noise, seed=6)
    for snapshot in record_episode(seed=6, noise=noise, action_repeat=2, max_steps=120):
        assert snapshot.controls == expert()
        assert snapshot.speed == car.speed
        for _ in range(2):
            steering = snapshot.controls["steering"] + offsets.step()
            car.advance({**snapshot.controls, "steering": steering}, repeat=1)


def test_noise_changes_the_drive_but_not_the_first_label():
    def labels(**changes):
        arguments = {"seed": 6, "noise": 0.2, "action_repeat": 2, "max_steps": 60} | changes
        return [snapshot.controls["steering"] for snapshot in record_episode(**arguments)]

    clean, noisy, other_seed = labels(noise=0.0), labels(), labels(seed=7)
    assert noisy[0] == clean[0]
    assert np.abs(np.subtract(noisy, clean)).max() > 0.02
    assert noisy != other_seed


def test_noise_has_the_standard_deviation_asked_for_and_is_smooth():
    process = SteeringNoise(standard_deviation=0.2, seed=0)
    offsets = np.array([process.step() for _ in range(20_000)])
    assert offsets.std() == pytest.approx(0.2, rel=0.05)
    assert offsets.mean() == pytest.approx(0.0, abs=0.02)
    assert np.corrcoef(offsets[1:], offsets[:-1])[0, 1] == pytest.approx(0.857, abs=0.02)


def test_episode_ends_with_the_lap():
    snapshots = list(itertools.islice(record_episode(seed=0, noise=0.0, action_repeat=20), 51))
    assert 0 < len(snapshots) <= 50
