"""The controller keeps cars of all kinds at their speed and forgets what held one up."""

from hypothesis import given
from hypothesis import strategies as st

from jaxdrive.driving.speed_control import control_speed

LACKING = st.floats(-300, 300)
SECONDS = st.floats(-1, 1e6)
STEPS = st.lists(st.tuples(LACKING, SECONDS), max_size=50)


def after(steps) -> float:
    """The integral that a history leaves."""
    integral = 0.0
    for lacking, seconds in steps:
        _, integral = control_speed(lacking, integral, seconds=seconds)
    return integral


@given(STEPS, LACKING, SECONDS)
def test_throttle_and_integral_stay_in_range(steps, lacking, seconds):
    throttle, integral = control_speed(lacking, after(steps), seconds=seconds)
    assert -1 <= throttle <= 1
    assert -1 <= integral <= 1


@given(STEPS, LACKING, LACKING, SECONDS)
def test_a_slower_car_gets_no_less_throttle(steps, one, other, seconds):
    integral = after(steps)
    less, more = sorted((one, other))
    assert (
        control_speed(less, integral, seconds=seconds)[0]
        <= control_speed(more, integral, seconds=seconds)[0]
    )


@given(
    target=st.floats(3, 40),
    drag=st.floats(0.05, 0.5),
    reserve=st.floats(1.3, 4),
    interval=st.floats(0.02, 0.2),
    held_up=st.floats(0, 60),
)
def test_a_car_reaches_its_speed_after_whatever_held_it_up(
    target, drag, reserve, interval, held_up
):
    """A car with drag in proportion to its speed and more power than it needs."""
    power = reserve * drag * target
    speed = integral = now = fastest = 0.0
    while now < held_up + 120:
        throttle, integral = control_speed(target - speed, integral, seconds=interval)
        if now > held_up:
            speed = max(speed + interval * (power * throttle - drag * speed), 0.0)
        fastest, now = max(fastest, speed), now + interval
    assert abs(speed - target) < 0.2
    assert fastest < 1.5 * target + 2
