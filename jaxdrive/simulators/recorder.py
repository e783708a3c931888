"""Records the CarRacing expert at the wheel, one episode at a time.

Noise on the executed steering pushes the car off the expert's line, while the recorded label stays
what the expert wanted: so the recordings show how to come back from errors, which a clean lap never
does (DART: Laskey, Lee, Fox, Dragan, Goldberg, "DART: Noise Injection for Robust Imitation
Learning", CoRL 2017). What becomes of the snapshots is left to the caller.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jaxdrive.simulators.car_racing import MAX_STEPS, STEPS_PER_SECOND, CarRacing
from jaxdrive.simulators.expert import Expert, ExpertSettings

NOISE_CORRELATION_TIME = 0.13
"""How long a push lasts, s: short against a bend, long against a physics step."""
_NOISE_STREAM = 0x0D0A
"""Sets the noise's random numbers apart from others that are drawn from the same seed."""


@dataclass(frozen=True)
class Snapshot:
    """What was seen at one moment, and what the expert did about it.

    Attributes:
        image: uint8 [96, 96, 3] RGB, as drawn by `CarRacing.observe`.
        controls: the expert's steering, throttle and brake, without noise.
        speed: m/s.
        time: simulated seconds since the start of the episode.
    """

    image: NDArray[np.uint8]
    controls: dict[str, float]
    speed: float
    time: float


class SteeringNoise:
    """An Ornstein-Uhlenbeck process: a smooth random offset of the steering, zero on average.

    It moves once per physics step, so its meaning does not depend on the action repeat.

    Args:
        standard_deviation: of the offset once the process has settled, in units of steering.
        seed: of the episode.
    """

    def __init__(self, *, standard_deviation: float, seed: int) -> None:
        self._random = np.random.default_rng((seed, _NOISE_STREAM))
        self._decay = math.exp(-1.0 / (STEPS_PER_SECOND * NOISE_CORRELATION_TIME))
        self._kick = standard_deviation * math.sqrt(1.0 - self._decay**2)
        self._offset = 0.0

    def step(self) -> float:
        """The offset for the next physics step."""
        self._offset = self._decay * self._offset + self._kick * self._random.standard_normal()
        return self._offset


def record_episode(
    *,
    seed: int,
    noise: float,
    action_repeat: int,
    max_steps: int = MAX_STEPS,
    settings: ExpertSettings = ExpertSettings(),  # noqa: B008 (frozen)
) -> Iterator[Snapshot]:
    """Yields one snapshot per action of one episode; the same arguments give the same snapshots.

    Args:
        seed: of the track and of the noise.
        noise: standard deviation of the offset on the executed steering, in units of steering;
            0 records the expert undisturbed.
        action_repeat: physics steps for which an action is held.
        max_steps: physics steps after which the recording ends, if the episode has not.
        settings: of the expert.

    Yields:
        One `Snapshot` before each action.
    """
    car_racing = CarRacing()
    try:
        car_racing.reset(seed)
        expert = Expert(car_racing, settings)
        expert.reset()
        steering_noise = SteeringNoise(standard_deviation=noise, seed=seed)
        while not car_racing.done and car_racing.steps < max_steps:
            controls = expert()
            yield Snapshot(
                image=car_racing.observe(),
                controls=dict(controls),
                speed=car_racing.speed,
                time=car_racing.time,
            )
            for _ in range(min(action_repeat, max_steps - car_racing.steps)):
                if not car_racing.done:
                    steering = controls["steering"] + steering_noise.step()
                    car_racing.advance({**controls, "steering": steering}, repeat=1)
    finally:
        car_racing.close()
