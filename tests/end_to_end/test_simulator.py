"""The Udacity simulator is served from the command line, from the first line to Ctrl-C."""

import asyncio
import os
import re
import signal

from etils import epath

from jaxdrive import workdir as workdirs
from jaxdrive.driving.policy import load_policy
from tests.driving.simulator import jpeg, simulator, telemetry, wanted
from tests.end_to_end.test_bad_input import contents

PICTURE = jpeg(5, (320, 160))


def test_a_simulator_is_driven_until_ctrl_c(launch, trained, tmp_path):
    before, frames = contents(trained), tmp_path / "frames"
    words = ("--simulator=udacity", "--port=0", "--set_speed=0", f"--save_frames={frames}")
    running = launch.start("drive", *words, workdir=trained)
    lines = []
    while not lines or "AUTONOMOUS" not in lines[-1]:
        lines.append(running.stdout.readline())
        assert lines[-1], f"ended with {running.wait()}: {''.join(lines)}"
    listening = next(line for line in lines if line.startswith("Listening on 127.0.0.1:"))
    port = int(re.match(r".*:(\d+): ", listening)[1])
    assert "step 24" in listening
    assert "left to the network" in listening

    async def drive():
        async with simulator(f"http://127.0.0.1:{port}") as car:
            answers = [await car.steer(telemetry(PICTURE)) for _ in range(3)]
            os.killpg(running.pid, signal.SIGINT)
            await car.client.wait()
            return answers

    answers = asyncio.run(drive())
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 0, output
    assert "Traceback" not in output
    assert "Stopped. In all:\n  3 predictions, " in output
    assert len(list(frames.glob("center_*.jpg"))) == 3
    # It only reads the run.
    assert contents(trained) == before

    config = workdirs.read_config(epath.Path(trained))
    own = wanted(load_policy(config, epath.Path(trained), None), PICTURE)
    assert answers == [(own["steering"], own["throttle"] - own["brake"])] * 3
