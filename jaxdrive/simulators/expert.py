"""An expert for CarRacing: it steers by pure pursuit and slows down for the bends it can see.

It reads the car's state and the track's centre line instead of pixels, but looks no further ahead
than the 96x96 observation shows, so what it does can be learned from pictures. Drawing, noise and
records are left to `recorder.py`.

Source of the steering law: R. Craig Coulter, "Implementation of the Pure Pursuit Path Tracking
Algorithm", Carnegie Mellon University, CMU-RI-TR-92-01, 1992.
"""

import math
from dataclasses import dataclass

from jaxdrive.simulators.car_racing import CarRacing, CarState, TrackPoint

POINT_SPACING = 3.5
"""Distance between neighbouring points of the centre line, m."""
WHEELBASE = 3.24
"""Distance between the axles, m."""
MAX_WHEEL_ANGLE = 0.4
"""Where the front wheels stop turning, rad; also the steering that takes them there."""
ROAD_HALF_WIDTH = 6.7
"""m."""


@dataclass(frozen=True)
class ExpertSettings:
    """How the expert drives.

    The defaults are tuned, with every action held for two physics steps, for a high score both
    alone and under the recorder's noise: what scores best alone cuts its bends so close that a
    small push takes it off the road.

    Attributes:
        lookahead_distance: how far ahead on the centre line the car aims at standstill, m.
        lookahead_time: what is added to that distance per m/s of speed, s.
        steering_gain: wheel angle over the angle that pure pursuit asks for; above 1 because the
            tyres slip, and to return to the line faster than pure pursuit alone.
        yaw_damping: wheel angle taken back per rad/s of yaw rate above the one wanted, s.
        lateral_acceleration: what bends are taken with, m/s^2.
        braking_deceleration: what is counted on before bends, m/s^2.
        top_speed: m/s.
        throttle_gain: throttle per m/s below the wanted speed, s/m.
        throttle_cut: share of the throttle taken away at full steering, 0..1.
        wheel_spin: how much faster than the car the rear wheels may turn before the throttle is
            eased, m/s.
        brake_gain: brake per m/s above the wanted speed and `brake_tolerance`, s/m.
        brake_tolerance: speed above the wanted one that is left to roll out, m/s.
        horizon: how far ahead bends are seen, m; the observation ends 35 to 37 m before the car.
        off_road_speed: wanted at most while the car is beside the road, m/s.
    """

    lookahead_distance: float = 8.71
    lookahead_time: float = 0.211
    steering_gain: float = 3.52
    yaw_damping: float = 0.0534
    lateral_acceleration: float = 232.0
    braking_deceleration: float = 47.7
    top_speed: float = 80.0
    throttle_gain: float = 0.111
    throttle_cut: float = 0.286
    wheel_spin: float = 6.85
    brake_gain: float = 0.0172
    brake_tolerance: float = 1.23
    horizon: float = 35.0
    off_road_speed: float = 40.0


@dataclass(frozen=True)
class _Motion:
    """The car's state in its own frame: forward direction, speeds in m/s."""

    state: CarState
    forward_x: float
    forward_y: float
    forward_speed: float
    speed: float


class Expert:
    """Drives one `CarRacing`; call `reset` after each reset of the simulator."""

    def __init__(self, car_racing: CarRacing, settings: ExpertSettings) -> None:
        self._car_racing = car_racing
        self._settings = settings

    def reset(self) -> None:
        """Reads the track and puts the search for the car at its start."""
        self._points = self._car_racing.centre_line()
        self._curvatures = _absolute_curvatures(self._points)
        self._nearest = 0

    def __call__(self) -> dict[str, float]:
        """What the expert does now: steering [-0.4, 0.4], throttle [0, 1], brake [0, 0.8]."""
        motion = _motion(self._car_racing.car_state())
        distance_to_road = self._locate(motion.state)
        bearing, target_distance = self._target(motion)
        wheel_angle = self._wheel_angle(motion, bearing=bearing, target_distance=target_distance)
        wanted_speed = self._wanted_speed(bearing=bearing, distance_to_road=distance_to_road)
        throttle, brake = self._pedals(motion, wanted_speed=wanted_speed, wheel_angle=wheel_angle)
        return {"steering": -wheel_angle, "throttle": throttle, "brake": brake}

    def _locate(self, state: CarState) -> float:
        """Finds the nearest point of the centre line; returns its distance in m."""

        def squared_distance(index: int) -> float:
            point = self._points[index % len(self._points)]
            return (point.x - state.x) ** 2 + (point.y - state.y) ** 2

        # Around the last one first: a track may pass close by another part of itself.
        nearest = min(range(self._nearest - 8, self._nearest + 14), key=squared_distance)
        if squared_distance(nearest) > 30.0**2:
            nearest = min(range(len(self._points)), key=squared_distance)
        self._nearest = nearest % len(self._points)
        return math.sqrt(squared_distance(nearest))

    def _target(self, motion: _Motion) -> tuple[float, float]:
        """Bearing (rad, positive = left) and distance (m) of the point to aim at."""
        settings, state = self._settings, motion.state
        nearest = self._points[self._nearest]
        passed = (state.x - nearest.x) * motion.forward_x + (state.y - nearest.y) * motion.forward_y
        lookahead = settings.lookahead_distance
        lookahead += settings.lookahead_time * max(motion.forward_speed, 0.0)
        position = (lookahead + passed) / POINT_SPACING
        whole = math.floor(position)
        here = self._points[(self._nearest + whole) % len(self._points)]
        there = self._points[(self._nearest + whole + 1) % len(self._points)]
        to_x = here.x + (position - whole) * (there.x - here.x) - state.x
        to_y = here.y + (position - whole) * (there.y - here.y) - state.y
        ahead = motion.forward_x * to_x + motion.forward_y * to_y
        left = motion.forward_x * to_y - motion.forward_y * to_x
        return math.atan2(left, ahead), math.hypot(ahead, left)

    def _wheel_angle(self, motion: _Motion, *, bearing: float, target_distance: float) -> float:
        """Angle of the front wheels in rad, positive = left: the arc through the target."""
        if abs(bearing) > math.pi / 2:
            return math.copysign(MAX_WHEEL_ANGLE, bearing)
        curvature = 2 * math.sin(bearing) / max(target_distance, 2.0)
        wheel_angle = self._settings.steering_gain * math.atan(WHEELBASE * curvature)
        excess_yaw_rate = motion.state.yaw_rate - motion.forward_speed * curvature
        wheel_angle -= self._settings.yaw_damping * excess_yaw_rate
        return min(MAX_WHEEL_ANGLE, max(-MAX_WHEEL_ANGLE, wheel_angle))

    def _wanted_speed(self, *, bearing: float, distance_to_road: float) -> float:
        """The highest speed, in m/s, from which every visible bend can still be taken."""
        settings = self._settings
        wanted = settings.top_speed
        for step in range(int(settings.horizon / POINT_SPACING) + 1):
            curvature = self._curvatures[(self._nearest + step) % len(self._points)]
            if curvature > 1e-4:
                braking_distance = max(0.0, step * POINT_SPACING - 2.0)
                squared = settings.lateral_acceleration / curvature
                squared += 2 * settings.braking_deceleration * braking_distance
                wanted = min(wanted, math.sqrt(squared))
        if distance_to_road > ROAD_HALF_WIDTH:
            wanted = min(wanted, settings.off_road_speed)
        # Turned away from the road by much: come round slowly instead of circling.
        if abs(bearing) > 0.6:
            wanted = min(wanted, 15.0 + 25.0 * max(0.0, 1.4 - abs(bearing)))
        return wanted

    def _pedals(
        self, motion: _Motion, *, wanted_speed: float, wheel_angle: float
    ) -> tuple[float, float]:
        """Throttle [0, 1] and brake [0, 0.8], never both: above 0.8 the wheels would soon lock."""
        settings = self._settings
        missing_speed = wanted_speed - motion.speed
        brake = settings.brake_gain * (-missing_speed - settings.brake_tolerance)
        brake = min(0.8, max(0.0, brake))
        if brake > 0.0:
            return 0.0, brake
        throttle = min(1.0, max(0.0, settings.throttle_gain * missing_speed))
        throttle *= 1.0 - settings.throttle_cut * abs(wheel_angle) / MAX_WHEEL_ANGLE
        spin = motion.state.rear_wheel_speed - motion.forward_speed - settings.wheel_spin
        # From the limit on, the throttle is taken back over the next 3 m/s.
        throttle *= min(1.0, max(0.0, 1.0 - spin / 3.0))
        return throttle, brake


def _motion(state: CarState) -> _Motion:
    forward_x, forward_y = -math.sin(state.heading), math.cos(state.heading)
    return _Motion(
        state=state,
        forward_x=forward_x,
        forward_y=forward_y,
        forward_speed=forward_x * state.velocity_x + forward_y * state.velocity_y,
        speed=math.hypot(state.velocity_x, state.velocity_y),
    )


def _absolute_curvatures(points: list[TrackPoint]) -> list[float]:
    """Curvature at each point in 1/m without its sign, smoothed over three points."""
    count = len(points)
    turns = []
    for index in range(count):
        turn = points[(index + 1) % count].heading - points[index - 1].heading
        turns.append((turn + math.pi) % (2 * math.pi) - math.pi)
    curvatures = [turn / (2 * POINT_SPACING) for turn in turns]
    return [
        abs(curvatures[i - 1] + 2 * curvatures[i] + curvatures[(i + 1) % count]) / 4
        for i in range(count)
    ]
