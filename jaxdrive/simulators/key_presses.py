"""Made-up key presses: what a recording says of an expert who had a keyboard instead of a wheel.

People drive simulators with keys: the recorded steering is exactly 0 in most frames, also in a
bend, and pressed for a few frames at a time. Here the expert's steering is turned into such
presses, by the rule of a first-order delta-sigma modulator: the steering that is owed is added up
over time, a key is pressed when much is owed and released when little is left. So the presses are
the same steering on average, while a single frame tells little of the bend.

Only labels are changed. The car drives as the expert steers, so that a recording with key presses
shows the same images as one without, and all that differs is what the labels say.
"""

import dataclasses
from collections.abc import Iterable, Iterator

from jaxdrive.simulators.car_racing import STEPS_PER_SECOND
from jaxdrive.simulators.recorder import Snapshot

TOP = 1.0
"""Steering while a key is held: full lock."""
RAMP = 12.5
"""How fast the steering follows a key that is pressed or released, 1/s: full lock in 0.08 s."""
PRESS_ABOVE = 0.03
"""What has to be owed before a key is pressed, steering times seconds."""
RELEASE_BELOW = 0.02
"""What may be owed when a key is released: the steering falls to 0 only a moment later."""


class KeyPresses:
    """A driver who gives the steering that is wanted by pressing left, right or nothing.

    Args:
        frame_seconds: for which each steering is held, s.
    """

    def __init__(self, *, frame_seconds: float) -> None:
        self._frame_seconds = frame_seconds
        self._owed = 0.0
        self._level = 0.0
        # -1 and 1 are the keys, 0 is none.
        self._key = 0

    def step(self, wanted: float) -> float:
        """The steering in the next frame.

        Args:
            wanted: what a wheel would be turned to, from -`TOP` to `TOP`.

        Returns:
            From -`TOP` to `TOP`, exactly 0 between presses.
        """
        self._owed += (wanted - self._level) * self._frame_seconds
        if not self._key and abs(self._owed) > PRESS_ABOVE:
            self._key = 1 if self._owed > 0 else -1
        elif self._key * self._owed < RELEASE_BELOW:
            self._key = 0
        change = RAMP * self._frame_seconds
        self._level = min(max(self._key * TOP, self._level - change), self._level + change)
        return self._level


def with_key_presses(episode: Iterable[Snapshot], *, action_repeat: int) -> Iterator[Snapshot]:
    """Yields the snapshots of an episode with made-up key presses as their steering.

    Args:
        episode: of a driver with a wheel, from its start.
        action_repeat: physics steps from one snapshot to the next.
    """
    presses = KeyPresses(frame_seconds=action_repeat / STEPS_PER_SECOND)
    for snapshot in episode:
        steering = presses.step(snapshot.controls["steering"])
        yield dataclasses.replace(snapshot, controls={**snapshot.controls, "steering": steering})
