"""Is this machine fast enough to drive a Donkeycar, and does the network do what the driver did?

Replays the pictures of a tub one after the other through the part that the car runs, as fast as it
answers; prints how long an answer takes, and how far it is from what was recorded. On a tub that
was trained on, that distance flatters: `launch.py evaluate` measures held-out frames.

Command:
  python -m benchmarks.donkey_pilot --workdir=runs/donkey --tub=DIR
"""

import argparse
import platform
import time
from pathlib import Path

import numpy as np

from configs import donkey as donkey_config
from jaxdrive import workdir
from jaxdrive.data.frames import Frame
from jaxdrive.data.sources import donkey
from jaxdrive.driving.donkey import Pilot


def main() -> None:
    """Replays the tub and prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--tub", type=Path, required=True)
    parser.add_argument("--throttle", type=float, default=0.3, help="of a network that only steers")
    arguments = parser.parse_args()
    pilot = Pilot(arguments.workdir, throttle=arguments.throttle)
    settings = donkey_config.get_config().data.to_dict() | {"path": str(arguments.tub)}
    seconds, told, recorded = [], [], []
    for session in donkey.sessions(settings, donkey.find(settings)):
        for frame in session.read():
            if not isinstance(frame, Frame):
                continue
            started = time.perf_counter()
            told.append(pilot.run(frame.image))
            seconds.append(time.perf_counter() - started)
            throttle = frame.labels["throttle"] - frame.labels["brake"]
            recorded.append((frame.labels["steering"], throttle))
    pilot.shutdown()
    middle, late = np.percentile(1e3 * np.asarray(seconds), [50, 95])
    angle, throttle = np.abs(np.asarray(told) - np.asarray(recorded)).mean(axis=0)
    print(
        f"step {pilot.step}: {len(seconds):,} pictures, an answer takes {middle:.1f} ms, 95 % of"
        f" them at most {late:.1f} ms"
    )
    print(f"mean distance from the driver: angle {angle:.3f}, throttle {throttle:.3f}")
    print(f"{platform.machine()}, Python {platform.python_version()}, {workdir.versions()['jax']}")


if __name__ == "__main__":
    main()
