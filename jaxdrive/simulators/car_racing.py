"""CarRacing: Gymnasium's top-down racing game, drawn only when somebody looks.

The stock environment draws its 96x96 observation on every physics step, which takes most of its
time. Here physics runs alone, and `observe` and `picture` draw the present state when they are
called, pixel for pixel as the stock environment would have drawn it. Controls carry the names that
the rest of jaxdrive uses. Who drives is left to others: to `expert.py`, which knows the state, or
to a policy, which sees the observation.

The simulator: Gymnasium, `gymnasium.envs.box2d.car_racing` (CarRacing-v3), by Oleg Klimov.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Both are read while pygame is imported. Nothing here opens a window, so no display is needed;
# setdefault leaves the choice to a caller who wants one.
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import numpy as np
from gymnasium.envs.box2d import car_racing
from numpy.typing import NDArray
from pygame import gfxdraw

STEPS_PER_SECOND = 50
MAX_STEPS = 1000
"""Physics steps after which an episode ends, as under the TimeLimit of CarRacing-v3."""


@dataclass(frozen=True)
class CarState:
    """What an expert may know of the car, in metres, radians and seconds.

    Angles grow anticlockwise. A heading of 0 looks along +y, so the car's forward direction is
    (-sin(heading), cos(heading)).

    Attributes:
        x, y: centre of the hull, m.
        heading: rad.
        velocity_x, velocity_y: m/s.
        yaw_rate: rad/s, positive while turning left.
        rear_wheel_speed: m/s, how fast the surface of the faster rear wheel turns.
    """

    x: float
    y: float
    heading: float
    velocity_x: float
    velocity_y: float
    yaw_rate: float
    rear_wheel_speed: float


@dataclass(frozen=True)
class TrackPoint:
    """One point of the closed centre line: position in m, heading in rad (see `CarState`)."""

    x: float
    y: float
    heading: float


class CarRacing:
    """One car on one random track.

    Call `reset` before anything else.

    Args:
        domain_randomize: draw road and grass in random colours, new ones at every `reset`.

    Attributes:
        score: sum of the rewards: 1,000 / tiles per new tile, -0.1 per step, -100 for leaving the
            playfield.
        steps: physics steps since `reset`, 0..MAX_STEPS.
        done: whether the episode is over: lap finished, playfield left or MAX_STEPS reached.
        finished: whether the lap is finished, which takes a visit to every tile.
        off_road_steps: steps that ended with all four wheels off the tiles.
    """

    def __init__(self, *, domain_randomize: bool = False) -> None:
        self._simulation = _Simulation(domain_randomize=domain_randomize)
        self.score = 0.0
        self.steps = 0
        self.done = True
        self.finished = False
        self.off_road_steps = 0

    def reset(self, seed: int, *, opening_zoom: bool = False) -> None:
        """Puts the car, at rest, on the start of the track that belongs to `seed`.

        Args:
            seed: decides the track (and the colours, under `domain_randomize`).
            opening_zoom: let the camera come down from far above during the first 50 steps, as
                the stock environment does.
        """
        self._simulation.reset(seed=seed)
        # Labels recorded during the zoom would teach from pictures that never occur again, and a
        # policy would have to start from pictures of a scale that it hardly knows.
        if not opening_zoom:
            self._simulation.skip_opening_zoom()
        self.score = 0.0
        self.steps = 0
        self.done = False
        self.finished = False
        self.off_road_steps = 0

    def advance(self, controls: Mapping[str, float], *, repeat: int) -> None:
        """Holds `controls` for `repeat` physics steps, or until the episode is over.

        Args:
            controls: steering [-1, 1] (negative = left), throttle [0, 1], brake [0, 1]; what
                lies outside acts like the nearest end. The wheels turn by 0.4 rad at most, and a
                steering of 0.4 takes them there.
            repeat: number of physics steps, each 1 / STEPS_PER_SECOND seconds long.

        Raises:
            RuntimeError: the episode is over, or has not been started.
            ValueError: a control is not finite.
            KeyError: a control is missing.
        """
        if self.done:
            raise RuntimeError("CarRacing.advance: no episode is under way; call reset(seed) first")
        action = np.array(
            [controls["steering"], controls["throttle"], controls["brake"]], np.float64
        )
        if not np.isfinite(action).all():
            raise ValueError(f"CarRacing.advance: controls must be finite, found {dict(controls)}")
        for _ in range(repeat):
            self._step(action)
            if self.done:
                return

    def _step(self, action: NDArray[np.float64]) -> None:
        _, reward, terminated, _, info = self._simulation.step(action)
        self.score += float(reward)
        self.steps += 1
        self.finished = bool(info.get("lap_finished", False))
        self.done = terminated or self.steps >= MAX_STEPS
        self.off_road_steps += not any(wheel.tiles for wheel in self._simulation.car.wheels)

    @property
    def time(self) -> float:
        """Simulated time since `reset`, in seconds."""
        return self.steps / STEPS_PER_SECOND

    @property
    def speed(self) -> float:
        """Speed over ground, in m/s."""
        return math.hypot(*self._simulation.car.hull.linearVelocity)

    @property
    def tiles_visited_share(self) -> float:
        """Share of the track's tiles that a wheel has touched, 0..1."""
        return float(self._simulation.tile_visited_count / len(self._simulation.track))

    def car_state(self) -> CarState:
        """The car's present position and motion; nothing that a picture would have to show."""
        car = self._simulation.car
        hull = car.hull
        rear_wheels = car.wheels[2:4]
        return CarState(
            x=hull.position[0],
            y=hull.position[1],
            heading=hull.angle,
            velocity_x=hull.linearVelocity[0],
            velocity_y=hull.linearVelocity[1],
            yaw_rate=hull.angularVelocity,
            rear_wheel_speed=max(float(wheel.omega) * wheel.wheel_rad for wheel in rear_wheels),
        )

    def centre_line(self) -> list[TrackPoint]:
        """The closed centre line in driving direction, one point per tile, 3.5 m apart."""
        return [TrackPoint(x=x, y=y, heading=beta) for _, beta, x, y in self._simulation.track]

    def observe(self) -> NDArray[np.uint8]:
        """Draws the observation: uint8 [96, 96, 3] RGB, from above, the car pointing up.

        The bottom 12 rows are a dashboard: score, speed, wheel speeds, steering, yaw rate.
        """
        return self._simulation.draw_observation()

    def picture(self) -> NDArray[np.uint8]:
        """Draws the same view larger and with skid marks, for videos: uint8 [400, 600, 3] RGB."""
        return self._simulation.draw_picture()

    def close(self) -> None:
        """Ends the simulation; the object is of no use afterwards."""
        self.done = True
        self._simulation.close()


class _Simulation(car_racing.CarRacing):
    """The stock environment, drawing on demand, with the road drawn in one vectorised pass."""

    # The stock class declares both as possibly None, which they are only before the first reset.
    car: Any
    surf: Any

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        result = super().reset(seed=seed, options=options)
        self._ground_colors = [_rgb(self.bg_color)] + [_rgb(self.grass_color)] * len(_GRASS)
        corners = np.array(
            [_FIELD, *_GRASS, *(polygon for polygon, _ in self.road_poly)], np.float64
        )
        self._corners_x, self._corners_y = corners[..., 0], corners[..., 1]
        return result

    def skip_opening_zoom(self) -> None:
        # `t` serves the stock environment for nothing but the zoom of the first second.
        self.t = 1.0

    def draw_observation(self) -> NDArray[np.uint8]:
        """Uint8 [96, 96, 3], with the score as it stood when the stock `step` draws."""
        score = self.reward
        self.reward = self._score_in_observation
        frame = super()._render("state_pixels")
        self.reward = score
        return np.ascontiguousarray(frame)

    def draw_picture(self) -> NDArray[np.uint8]:
        """Uint8 [400, 600, 3]."""
        return np.ascontiguousarray(super()._render("rgb_array"))

    def _render(self, mode: str) -> None:
        """Draws nothing: the stock `step` calls this on every physics step."""
        # It does so before it takes off the 0.1 points that the step costs.
        self._score_in_observation = self.reward

    def _render_road(self, zoom: float, translation: Sequence[float], angle: float) -> None:
        """Draws the polygons that touch the window, in the stock order and with its arithmetic."""
        cosine, sine = math.cos(angle), math.sin(angle)
        x, y = self._corners_x, self._corners_y
        columns = (x * cosine - y * sine) * zoom + translation[0]
        rows = (x * sine + y * cosine) * zoom + translation[1]
        # The outline is antialiased, so it can colour a pixel beside the polygon.
        margin = 2
        visible = (
            (columns.max(axis=1) >= -margin)
            & (columns.min(axis=1) <= car_racing.WINDOW_W + margin)
            & (rows.max(axis=1) >= -margin)
            & (rows.min(axis=1) <= car_racing.WINDOW_H + margin)
        )
        for index in np.flatnonzero(visible).tolist():
            polygon = list(zip(columns[index].tolist(), rows[index].tolist(), strict=True))
            color = self._color(index)
            gfxdraw.aapolygon(self.surf, polygon, color)
            gfxdraw.filled_polygon(self.surf, polygon, color)

    def _color(self, index: int) -> tuple[int, int, int]:
        if index < len(self._ground_colors):
            return self._ground_colors[index]
        # Read afresh for every frame: a tile changes its colour when it is visited.
        return _rgb(self.road_poly[index - len(self._ground_colors)][1])


def _rgb(color: Sequence[float] | NDArray[Any]) -> tuple[int, int, int]:
    red, green, blue = color
    return int(red), int(green), int(blue)


def _square(left: float, bottom: float, size: float) -> list[tuple[float, float]]:
    return [
        (left + size, bottom),
        (left, bottom),
        (left, bottom + size),
        (left + size, bottom + size),
    ]


_FIELD = [
    (side_x * car_racing.PLAYFIELD, side_y * car_racing.PLAYFIELD)
    for side_x, side_y in ((1, 1), (1, -1), (-1, -1), (-1, 1))
]
_GRASS = [
    _square(car_racing.GRASS_DIM * column, car_racing.GRASS_DIM * row, car_racing.GRASS_DIM)
    for column in range(-20, 20, 2)
    for row in range(-20, 20, 2)
]
