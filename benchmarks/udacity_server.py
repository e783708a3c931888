"""How soon does the Udacity simulator get its answer?

Serves a network in a process of its own and replays pictures to it through a Socket.IO client of
another process, one after the other, as the simulator does; prints the latency of the prediction
alone, of the server's answer, and of the client's round trip. Then predicts all pictures again
without a server and prints the largest difference to what was answered.

Command:
  python -m benchmarks.udacity_server --config=configs/udacity.py
  python -m benchmarks.udacity_server --workdir=runs/udacity --recording=DIR

The network of a --config is drawn at random, that of a --workdir is its best checkpoint. A
recording is a folder with IMG, as the simulator makes it; its pictures of the camera in the middle
are replayed at one speed.
"""

import argparse
import asyncio
import base64
import io
import json
import multiprocessing
import platform
import runpy
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import jax
import numpy as np
import socketio
from etils import epath
from PIL import Image

from jaxdrive import durations
from jaxdrive import workdir as workdirs
from jaxdrive.data.frames import DRIVING_CAMERA
from jaxdrive.data.prepare import fit_shape
from jaxdrive.driving.policy import Policy, load_policy, make_policy
from jaxdrive.driving.udacity_driver import UdacityDriver
from jaxdrive.driving.udacity_server import listen, serving
from jaxdrive.training.parts import make_init, make_network

# mph, of every telemetry.
SPEED = 15.0
# The first ones, of a network that has just been compiled and of a new connection, do not count.
WARM_UP = 20


def policy_of(arguments: argparse.Namespace) -> Policy:
    """The network that --workdir or --config names, compiled."""
    if arguments.workdir:
        workdir = epath.Path(arguments.workdir).resolve()
        policy = load_policy(workdirs.read_config(workdir), workdir, None)
    else:
        config = runpy.run_path(arguments.config)["get_config"]().to_dict()
        # Any length of an epoch will do for a network that is not trained.
        config = durations.resolve(config, 1000.0)
        network = make_network(config, fit_shape(config["data"]))
        state = make_init(config, network)()
        policy = make_policy(config, network, (state.params, state.batch_stats), step=0)
    predict(policy, made_up_pictures(1)[0])
    return policy


def made_up_pictures(count: int) -> list[bytes]:
    """JPEG files of the simulator's size, 320x160, all different and about as large as its own."""
    generator = np.random.default_rng(0)
    files = []
    for _ in range(count):
        coarse = generator.integers(0, 256, (20, 40, 3)).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize((320, 160), Image.Resampling.BICUBIC).save(file, "JPEG")
        files.append(file.getvalue())
    return files


def recorded_pictures(folder: str, count: int) -> list[bytes]:
    """The first files of the camera in the middle, in the order of their times."""
    files = sorted((Path(folder) / "IMG").glob(f"{DRIVING_CAMERA}_*.jpg"))
    if not files:
        raise SystemExit(f"there is no IMG/{DRIVING_CAMERA}_*.jpg in {folder}")
    return [file.read_bytes() for file in files[:count]]


def predict(policy: Policy, picture: bytes) -> float:
    """The steering of a picture, without a server."""
    image = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
    return float(policy([image], {"speed": [SPEED]}, rows=1)["steering"][0])


def serve(arguments: argparse.Namespace, told: Connection) -> None:
    """Tells its port, serves until it is told to end, then tells what it has measured."""

    async def until_told(driver: UdacityDriver, port: int) -> None:
        async with serving(driver, listener):
            told.send(port)
            await asyncio.get_running_loop().run_in_executor(None, told.recv)

    with listen("127.0.0.1", 0) as listener:
        policy = policy_of(arguments)
        driver = UdacityDriver(policy, set_speed=SPEED, save_frames=None, say=print)
        asyncio.run(until_told(driver, listener.getsockname()[1]))
    figures = driver.figures
    told.send((list(figures.prediction_seconds), list(figures.answer_seconds)))


async def replay(port: int, pictures: Sequence[bytes]) -> tuple[list[float], list[float]]:
    """What was answered to every picture, and the seconds of each round trip."""
    client, answers = socketio.AsyncClient(reconnection=False), asyncio.Queue[dict[str, str]]()
    client.on("steer", answers.put)
    await client.connect(f"http://127.0.0.1:{port}", transports=["websocket"])
    steering, seconds = [], []
    for picture in pictures:
        image = base64.b64encode(picture).decode()
        texts = {"steering_angle": "0.0", "throttle": "0.0", "speed": f"{SPEED:.4f}"}
        started = time.perf_counter()
        await client.emit("telemetry", texts | {"image": image})
        answer = await answers.get()
        seconds.append(time.perf_counter() - started)
        steering.append(float(answer["steering_angle"]))
    await client.disconnect()
    return steering, seconds


def main() -> None:
    """Measures and prints a table, and a line of JSON for `benchmarks/results/`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument("--config", help="configuration file, for a network at random")
    network.add_argument("--workdir", help="folder of a run")
    parser.add_argument("--recording", help="folder of a recording; default: made-up pictures")
    parser.add_argument("--pictures", type=int, default=500, help="how many to replay at most")
    arguments = parser.parse_args()
    pictures = (
        recorded_pictures(arguments.recording, arguments.pictures)
        if arguments.recording
        else made_up_pictures(arguments.pictures)
    )
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(arguments, there))
    server.start()
    steering, round_trips = asyncio.run(replay(here.recv(), pictures))
    here.send("end")
    predictions, answers = here.recv()
    server.join()

    milliseconds: dict[str, Any] = {}
    print(f"{'latency':14} {'p50 ms':>8} {'p95 ms':>8}")
    for name, seconds in (
        ("prediction", predictions),
        ("answer", answers),
        ("round trip", round_trips),
    ):
        half, most = np.percentile(seconds[WARM_UP:], [50, 95]) * 1e3
        milliseconds[name] = {"p50": float(half), "p95": float(most)}
        print(f"{name:14} {half:8.2f} {most:8.2f}")
    policy = policy_of(arguments)
    difference = max(
        abs(predict(policy, picture) - answer)
        for picture, answer in zip(pictures, steering, strict=True)
    )
    print(f"{len(pictures)} pictures; largest difference of the steering {difference:.3g}")
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.processor() or platform.machine()}, {jax.device_count()} devices",
        "device": jax.devices()[0].device_kind,
        "versions": workdirs.versions(),
        "network": arguments.workdir or arguments.config,
        "pictures": len(pictures),
        "milliseconds": milliseconds,
        "largest_difference": difference,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
