"""Made-up simulators for tests of the server: telemetry, a network, clients old and new."""

import asyncio
import base64
import contextlib
import io
import json

import aiohttp
import numpy as np
import socketio
from PIL import Image

from configs import default
from jaxdrive.data.prepare import fit_shape
from jaxdrive.driving.policy import Policy, make_policy
from jaxdrive.driving.udacity_driver import UdacityDriver
from jaxdrive.driving.udacity_server import listen, serving
from jaxdrive.training.parts import make_init, make_network

# Long enough for any machine; what comes at all comes within milliseconds.
PATIENCE = 60


def small_policy() -> Policy:
    """A network at random, with speed as an input, that cuts rows off pictures."""
    config = default.get_config()
    config.model.channels, config.model.common, config.model.head = (4, 8), (16,), (8,)
    config.data.crop_top, config.data.crop_bottom = 4, 2
    config.data.height, config.data.width = 16, 24
    fields = config.to_dict()
    network = make_network(fields, fit_shape(fields["data"]))
    state = make_init(fields, network)()
    return make_policy(fields, network, (state.params, state.batch_stats), step=7)


def jpeg(number: int, size=(32, 24)) -> bytes:
    """A picture that no other number gives."""
    pixels = np.random.default_rng(number).integers(0, 256, (size[1] // 8, size[0] // 8, 3))
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).resize(size).save(file, "JPEG")
    return file.getvalue()


def telemetry(picture: bytes, speed="9.5000") -> dict[str, str]:
    """What the simulator says with a picture."""
    image = base64.b64encode(picture).decode()
    return {"steering_angle": "-1.2500", "throttle": "0.1000", "speed": speed, "image": image}


def wanted(policy: Policy, picture: bytes, speed=9.5) -> dict[str, float]:
    """What the network itself says to a picture."""
    image = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
    told = policy([image], {"speed": [speed]}, rows=1)
    return {name: float(value[0]) for name, value in told.items()}


@contextlib.asynccontextmanager
async def server(policy, *, set_speed=10.0, save_frames=None, say=lambda line: None, **options):
    """A server; yields its driver and its URL."""
    listener = listen("127.0.0.1", 0)
    driver = UdacityDriver(policy, set_speed=set_speed, save_frames=save_frames, say=say)
    async with serving(driver, listener, **options):
        yield driver, f"http://127.0.0.1:{listener.getsockname()[1]}"


class Simulator:
    """A client of today that waits for answers as the simulator does."""

    def __init__(self) -> None:
        self.client = socketio.AsyncClient(reconnection=False)
        self.events: asyncio.Queue = asyncio.Queue()
        for name in ("steer", "manual"):
            self.client.on(name, self._handler(name))

    def _handler(self, name):
        async def handler(data):
            await self.events.put((name, data))

        return handler

    async def ask(self, data) -> tuple[str, dict[str, str]]:
        """The event that answers a telemetry."""
        await self.client.emit("telemetry", data)
        return await asyncio.wait_for(self.events.get(), PATIENCE)

    async def steer(self, data) -> tuple[float, float]:
        """The steering and throttle that answer a telemetry."""
        event, answer = await self.ask(data)
        assert event == "steer"
        assert all(type(value) is str for value in answer.values())
        return float(answer["steering_angle"]), float(answer["throttle"])


@contextlib.asynccontextmanager
async def simulator(url, **options):
    """A client of today, connected."""
    one = Simulator()
    await one.client.connect(url, **options)
    try:
        yield one
    finally:
        await one.client.disconnect()


@contextlib.asynccontextmanager
async def raw(url):
    """A WebSocket to the address that the simulator calls, for packets as they are."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}/socket.io/?EIO=4&transport=websocket") as connection,
    ):
        yield connection


def event(data) -> str:
    """The packet of a telemetry event."""
    return "42" + json.dumps(["telemetry", data])


async def next_steer(connection) -> dict[str, str]:
    """Reads packets up to the next answer."""
    while True:
        packet = await asyncio.wait_for(connection.receive_str(), PATIENCE)
        if packet.startswith('42["steer"'):
            return json.loads(packet[2:])[1]


def tasks() -> int:
    """How many things the event loop has under way."""
    return len(asyncio.all_tasks())
