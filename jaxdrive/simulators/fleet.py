"""Several CarRacing tracks driven at once, in lockstep, by worker processes.

A round is: read `observations`, decide, `advance`. The simulators of a round run in parallel, and
their next observations come back in the answer, so a round costs one exchange of messages. Who
decides is left to the caller, who has all observations of a round together and can put them through
a network as one batch.

Processes are started by 'spawn', which imports the caller's main module again: a script that makes
a Fleet needs the usual `if __name__ == "__main__":` guard.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Self

import numpy as np
from numpy.typing import NDArray

from jaxdrive.simulators.car_racing import CarRacing


@dataclass(frozen=True)
class Observation:
    """What a driver of one track sees.

    Attributes:
        track: index of the track, its place in the fleet's `seeds`.
        image: uint8 [96, 96, 3] RGB.
        speed: m/s.
        picture: uint8 [400, 600, 3] RGB, for videos; None for all tracks but `picture_of`.
    """

    track: int
    image: NDArray[np.uint8]
    speed: float
    picture: NDArray[np.uint8] | None


@dataclass(frozen=True)
class TrackResult:
    """How an episode ended.

    Attributes:
        seed: of the track.
        score: sum of the rewards.
        finished: whether the lap was finished.
        off_road_share: share of the steps with all four wheels off the tiles, 0..1.
        steps: physics steps driven.
    """

    seed: int
    score: float
    finished: bool
    off_road_share: float
    steps: int


class Fleet:
    """Drives one episode on each of several tracks. A context manager; `close` ends it as well.

    Args:
        seeds: one per track; a track is known by its index in this sequence.
        workers: processes that share the tracks, at most one per track; 0 runs all in this one.
        domain_randomize: draw each track in random colours of its own.
        action_repeat: physics steps for which controls are held.
        picture_of: index of the track of which large pictures are drawn as well.

    Raises:
        RuntimeError: a worker failed or died. Any method may raise it; the fleet is closed then.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        *,
        workers: int,
        domain_randomize: bool = False,
        action_repeat: int = 2,
        picture_of: int | None = None,
    ) -> None:
        self._observations: dict[int, Observation] = {}
        self._results: dict[int, TrackResult] = {}
        self._track_count = len(seeds)
        self._groups: list[_LocalGroup | _RemoteGroup] = []
        count = max(1, min(workers, len(seeds)))
        with self._closing_on_error():
            for first in range(count):
                share = _Share(
                    seeds={track: seeds[track] for track in range(first, len(seeds), count)},
                    domain_randomize=domain_randomize,
                    action_repeat=action_repeat,
                    picture_of=picture_of,
                )
                self._groups.append(_RemoteGroup(share) if workers > 0 else _LocalGroup(share))
            for group in self._groups:
                self._take(group.receive())

    @property
    def driving(self) -> bool:
        """Whether any track is still being driven."""
        return bool(self._observations)

    def observations(self) -> list[Observation]:
        """What is seen now on every track that is still being driven, by track index."""
        return [self._observations[track] for track in sorted(self._observations)]

    def advance(self, controls: Mapping[int, Mapping[str, float]]) -> None:
        """Drives every track that is still being driven on by one action.

        Args:
            controls: track index -> controls as for `CarRacing.advance`, for exactly the tracks of
                the present `observations`.

        Raises:
            ValueError: controls are missing, or are there for a track that is not being driven.
        """
        if controls.keys() != self._observations.keys():
            raise ValueError(
                f"Fleet.advance: found controls for tracks {sorted(controls)}, "
                f"but tracks {sorted(self._observations)} are being driven"
            )
        busy = [group for group in self._groups if group.tracks & controls.keys()]
        with self._closing_on_error():
            # All are sent off before any is waited for, so that they work at the same time.
            for group in busy:
                group.send({track: controls[track] for track in group.tracks & controls.keys()})
            self._observations = {}
            for group in busy:
                self._take(group.receive())

    def results(self) -> list[TrackResult]:
        """One result per track, in the order of the seeds.

        Raises:
            RuntimeError: some track has not been driven to its end.
        """
        open_tracks = [track for track in range(self._track_count) if track not in self._results]
        if open_tracks:
            raise RuntimeError(f"Fleet.results: tracks {open_tracks} are not driven to their end")
        return [self._results[track] for track in range(self._track_count)]

    def close(self) -> None:
        """Ends all workers and with them every drive; safe to call twice."""
        self._observations = {}
        for group in self._groups:
            group.close()
        self._groups = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _take(self, answer: "_Answer") -> None:
        self._observations.update({seen.track: seen for seen in answer.observations})
        self._results.update(answer.results)


@dataclass(frozen=True)
class _Share:
    """The part of a fleet that one group of simulators has: track index -> seed, and how."""

    seeds: Mapping[int, int]
    domain_randomize: bool
    action_repeat: int
    picture_of: int | None


@dataclass(frozen=True)
class _Answer:
    """Observations of the tracks where the drive goes on, results of those where it just ended."""

    observations: list[Observation]
    results: dict[int, TrackResult]


class _LocalGroup:
    """The simulators of one share, in this process."""

    def __init__(self, share: _Share) -> None:
        self.tracks = share.seeds.keys()
        self._share = share
        self._cars: dict[int, CarRacing] = {}
        for track, seed in share.seeds.items():
            self._cars[track] = CarRacing(domain_randomize=share.domain_randomize)
            self._cars[track].reset(seed)

    def send(self, controls: Mapping[int, Mapping[str, float]]) -> None:
        for track, car_controls in controls.items():
            self._cars[track].advance(car_controls, repeat=self._share.action_repeat)

    def receive(self) -> _Answer:
        results = {track: self._result(track) for track, car in self._cars.items() if car.done}
        for track in results:
            self._cars.pop(track).close()
        return _Answer([self._observe(track) for track in self._cars], results)

    def close(self) -> None:
        for car in self._cars.values():
            car.close()

    def _observe(self, track: int) -> Observation:
        car = self._cars[track]
        return Observation(
            track=track,
            image=car.observe(),
            speed=car.speed,
            picture=car.picture() if track == self._share.picture_of else None,
        )

    def _result(self, track: int) -> TrackResult:
        car = self._cars[track]
        return TrackResult(
            seed=self._share.seeds[track],
            score=car.score,
            finished=car.finished,
            off_road_share=car.off_road_steps / car.steps,
            steps=car.steps,
        )


class _RemoteGroup:
    """The simulators of one share, in a worker process of their own."""

    def __init__(self, share: _Share) -> None:
        self.tracks = share.seeds.keys()
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_work, args=(theirs, share), name="jaxdrive-simulators", daemon=True
        )
        self._process.start()
        # The worker then holds the only other end, so that its death ends the wait in `receive`.
        theirs.close()

    def send(self, controls: Mapping[int, Mapping[str, float]]) -> None:
        try:
            self._connection.send(controls)
        except OSError as error:
            raise self._death() from error

    def receive(self) -> _Answer:
        try:
            answer: _Answer | str = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error
        if isinstance(answer, str):
            raise RuntimeError(
                f"the simulator worker of tracks {sorted(self.tracks)} failed:\n{answer}"
            )
        return answer

    def close(self) -> None:
        # A worker has nothing to put away, so it need not be asked.
        self._connection.close()
        self._process.kill()
        self._process.join()

    def _death(self) -> RuntimeError:
        self._process.join(timeout=1.0)
        return RuntimeError(
            f"the simulator worker of tracks {sorted(self.tracks)} died with exit code "
            f"{self._process.exitcode} (a negative one is the number of the signal that ended it)"
        )


def _work(connection: Connection, share: _Share) -> None:
    """The worker: sends the first observations unasked, then one answer per message."""
    # Ctrl-C reaches the whole process group; what follows from it is for the parent to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    # The parent has closed its end: there is nobody left to tell anything.
    with contextlib.suppress(EOFError, OSError):
        try:
            group = _LocalGroup(share)
            connection.send(group.receive())
            while True:
                group.send(connection.recv())
                connection.send(group.receive())
        except (EOFError, OSError):
            raise
        except Exception:
            connection.send(traceback.format_exc())


def _exit_with_parent() -> None:
    """Ends this process as soon as its parent is gone, even if that was killed by SIGKILL."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
