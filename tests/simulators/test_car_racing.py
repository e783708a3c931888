"""CarRacing draws and scores as the stock environment does, and its expert drives well."""

import gymnasium
import numpy as np
import pytest

from jaxdrive.simulators.car_racing import MAX_STEPS, CarRacing
from jaxdrive.simulators.expert import Expert, ExpertSettings

IDLE = {"steering": 0.0, "throttle": 0.0, "brake": 0.0}


def _wander(step: int) -> dict[str, float]:
    """Controls that turn both ways, brake, and leave the road."""
    return {
        "steering": float(np.sin(step / 12)) * 0.4,
        "throttle": 0.0 if step % 40 > 30 else 0.6,
        "brake": 0.3 if step % 40 > 30 else 0.0,
    }


@pytest.mark.parametrize("domain_randomize", [False, True])
def test_frames_and_score_equal_those_of_the_stock_environment(domain_randomize):
    stock = gymnasium.make(
        "CarRacing-v3", render_mode="rgb_array", domain_randomize=domain_randomize
    )
    ours = CarRacing(domain_randomize=domain_randomize)
    expected, _ = stock.reset(seed=3)
    ours.reset(3, opening_zoom=True)
    np.testing.assert_array_equal(ours.observe(), expected)

    score, headings = 0.0, []
    for step in range(160):
        controls = _wander(step)
        expected, reward, terminated, truncated, _ = stock.step(
            np.array(list(controls.values()), np.float64)
        )
        ours.advance(controls, repeat=1)
        score += reward
        headings.append(ours.car_state().heading)
        if step % 9 == 0:
            np.testing.assert_array_equal(ours.observe(), expected, err_msg=f"step {step}")
        if step % 40 == 0:
            np.testing.assert_array_equal(ours.picture(), stock.render(), err_msg=f"step {step}")
        assert (ours.done, ours.score) == (terminated or truncated, score)
    assert np.ptp(headings) > 1.0
    assert ours.score > 0.0
    assert ours.steps == 160
    stock.close()


def test_first_frame_is_at_the_scale_of_all_others_unless_the_zoom_is_asked_for():
    zoomed, normal = CarRacing(), CarRacing()
    zoomed.reset(5, opening_zoom=True)
    normal.reset(5)

    def mean_difference() -> float:
        above_dashboard = np.s_[:84]
        zoomed_image, image = zoomed.observe()[above_dashboard], normal.observe()[above_dashboard]
        return float(np.abs(zoomed_image.astype(float) - image).mean())

    assert mean_difference() > 10.0
    # The standing car settles on its joints meanwhile, which moves single pixels a little.
    zoomed.advance(IDLE, repeat=60)
    assert mean_difference() < 0.1


def test_looking_does_not_disturb():
    watched, unwatched = CarRacing(), CarRacing()
    watched.reset(8)
    unwatched.reset(8)
    for step in range(100):
        watched.advance(_wander(step), repeat=1)
        unwatched.advance(_wander(step), repeat=1)
        if step % 10 == 0:
            picture = watched.picture()
            watched.observe()
    assert (picture.shape, picture.dtype) == ((400, 600, 3), np.uint8)
    assert watched.car_state() == unwatched.car_state()
    assert watched.score == unwatched.score
    np.testing.assert_array_equal(watched.observe(), unwatched.observe())


def test_controls_mean_what_their_names_say():
    def drive(**controls):
        car = CarRacing()
        car.reset(1)
        before = car.car_state()
        car.advance(IDLE | {"throttle": 1.0}, repeat=30)
        car.advance(IDLE | controls, repeat=20)
        after = car.car_state()
        to_the_right = np.cos(before.heading) * (after.x - before.x) + np.sin(before.heading) * (
            after.y - before.y
        )
        return to_the_right, car.speed

    straight, rolling = drive()
    assert drive(steering=0.3)[0] > straight + 0.5
    assert drive(steering=-0.3)[0] < straight - 0.5
    assert drive(throttle=1.0)[1] > rolling + 1.0
    assert drive(brake=0.5)[1] < rolling - 1.0
    assert drive(steering=5.0, throttle=3.0) == drive(steering=1.0, throttle=1.0)


def test_episode_ends_at_the_edge_of_the_playfield_and_after_the_last_step():
    car = CarRacing()
    with pytest.raises(RuntimeError, match="reset"):
        car.advance(IDLE, repeat=1)
    car.reset(0)
    with pytest.raises(ValueError, match="finite"):
        car.advance(IDLE | {"steering": float("nan")}, repeat=1)
    car.advance(IDLE | {"throttle": 0.3}, repeat=2 * MAX_STEPS)
    assert car.done
    assert not car.finished
    assert 0 < car.off_road_steps < car.steps < MAX_STEPS
    assert car.score < 1000 * car.tiles_visited_share - 100 + 1e-6
    with pytest.raises(RuntimeError, match="reset"):
        car.advance(IDLE, repeat=1)

    car.reset(0)
    assert (car.done, car.score, car.steps, car.off_road_steps) == (False, 0.0, 0, 0)
    car.advance(IDLE, repeat=2 * MAX_STEPS)
    assert car.done
    assert not car.finished
    assert car.steps == MAX_STEPS
    assert car.time == 20.0


@pytest.mark.parametrize("repeat", [1, 2])
def test_expert_finishes_laps_fast(repeat):
    car = CarRacing()
    expert = Expert(car, ExpertSettings())
    for seed in (0, 1):
        car.reset(seed)
        expert.reset()
        while not car.done:
            car.advance(expert(), repeat=repeat)
        assert car.finished
        assert car.tiles_visited_share == 1.0
        assert car.off_road_steps == 0
        assert car.score > 900.0
        assert car.score == pytest.approx(1000.0 - 0.1 * car.steps)
