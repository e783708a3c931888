"""A fleet drives the same with and without worker processes, and leaves none behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jaxdrive
from jaxdrive.simulators.fleet import Fleet, Observation, TrackResult

STRAIGHT_ON = {"steering": 0.0, "throttle": 0.3, "brake": 0.0}

# Its workers import it as well, and then never come back from a step to look at their connection.
PARENT = """
import time
from jaxdrive.simulators.car_racing import CarRacing
from jaxdrive.simulators.fleet import Fleet

def get_stuck(car, controls, *, repeat):
    print("stuck", flush=True)
    time.sleep(120)

CarRacing.advance = get_stuck

if __name__ == "__main__":
    with Fleet([0, 1], workers=2) as fleet:
        fleet.advance({0: {}, 1: {}})
"""


def _decide(seen: Observation) -> dict[str, float]:
    """Track 0 soon leaves the playfield; the others circle, by what they see."""
    if seen.track == 0:
        return STRAIGHT_ON
    left, right = seen.image[:84, :48].mean(), seen.image[:84, 48:].mean()
    return {"steering": 0.3 + (left - right) / 1000, "throttle": 0.1, "brake": seen.speed / 5000}


def _drive(workers: int) -> tuple[list[list[Observation]], list[TrackResult]]:
    rounds = []
    with Fleet([7, 2, 11], workers=workers, action_repeat=20, picture_of=1) as fleet:
        while fleet.driving:
            rounds.append(fleet.observations())
            fleet.advance({seen.track: _decide(seen) for seen in rounds[-1]})
        return rounds, fleet.results()


def test_two_workers_drive_as_this_process_does():
    local_rounds, local_results = _drive(workers=0)
    remote_rounds, remote_results = _drive(workers=2)
    assert multiprocessing.active_children() == []
    assert remote_results == local_results
    assert [result.seed for result in local_results] == [7, 2, 11]
    assert local_results[0].steps < local_results[2].steps == 1000
    assert 0.0 < local_results[0].off_road_share < 1.0
    assert [seen.track for seen in local_rounds[0]] == [0, 1, 2]
    assert [seen.track for seen in local_rounds[-1]] == [1, 2]
    assert len(local_rounds) == len(remote_rounds) == 50
    for local, remote in zip(local_rounds, remote_rounds, strict=True):
        for here, there in zip(local, remote, strict=True):
            assert (here.track, here.speed) == (there.track, there.speed)
            np.testing.assert_array_equal(here.image, there.image)
            assert (here.picture is not None) == (here.track == 1)
            np.testing.assert_array_equal(here.picture, there.picture)


def test_wrong_tracks_and_early_results_are_refused():
    with Fleet([0, 1], workers=0) as fleet:
        with pytest.raises(ValueError, match=r"tracks \[0\], but tracks \[0, 1\]"):
            fleet.advance({0: STRAIGHT_ON})
        with pytest.raises(RuntimeError, match=r"tracks \[0, 1\] are not driven"):
            fleet.results()


def test_a_worker_that_dies_or_fails_gives_an_error_and_ends_the_others():
    controls = {0: STRAIGHT_ON, 1: STRAIGHT_ON}
    with Fleet([0, 1], workers=2) as fleet:
        for process in multiprocessing.active_children():
            os.kill(process.pid, signal.SIGINT)
        fleet.advance(controls)
        assert [seen.speed > 0.0 for seen in fleet.observations()] == [True, True]

        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match=r"died with exit code -9"):
            fleet.advance(controls)
        assert not fleet.driving
        with pytest.raises(RuntimeError, match=r"tracks \[0, 1\] are not driven"):
            fleet.results()
        assert multiprocessing.active_children() == []

    with Fleet([0], workers=1) as fleet:
        with pytest.raises(RuntimeError, match=r"(?s)tracks \[0\] failed.*must be finite"):
            fleet.advance({0: STRAIGHT_ON | {"throttle": float("inf")}})
        assert multiprocessing.active_children() == []


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    root = str(Path(jaxdrive.__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
    ) as parent:
        # Two workers write to one pipe, in pieces that may mix.
        told = "".join(parent.stdout.readline() for _ in range(2))
        assert told.count("stuck") == 2
        parent.kill()
        # The workers hold the other end of this pipe too: it ends only when all of them are gone.
        assert parent.communicate(timeout=60) == ("", None)
