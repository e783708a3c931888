"""Answers what the Udacity simulator says: telemetry in, steering and throttle out.

The simulator waits for every answer before it says more, so broken telemetry is answered as well:
let go of wheel and pedals. Who may call and how is left to `udacity_server.py`, what the texts mean
to `telemetry.py`, keeping a speed to `speed_control.py`.

Simulator: https://github.com/udacity/self-driving-car-sim.
"""

import asyncio
import dataclasses
import datetime
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jaxdrive.data.frames import DRIVING_CAMERA
from jaxdrive.driving.figures import Figures
from jaxdrive.driving.policy import Policy
from jaxdrive.driving.speed_control import control_speed
from jaxdrive.driving.telemetry import BadTelemetryError, Telemetry, read_telemetry, write_number
from jaxdrive.errors import UserError

# Lines about clients that come and go, between two reports.
_MOST_LINES = 10


@dataclasses.dataclass
class _Client:
    """A simulator, and the state of its speed controller.

    Attributes:
      address: Where it calls from.
      integral: See `control_speed`.
      asked: Time of its last telemetry, in seconds.
      answers: That it got.
    """

    address: str
    integral: float = 0.0
    asked: float | None = None
    answers: int = 0


@dataclasses.dataclass(frozen=True)
class _Prediction:
    """What the network tells a car, by control, and the seconds that it took."""

    telemetry: Telemetry
    controls: Mapping[str, float]
    seconds: float


class UdacityDriver:
    """Handles the events of clients, which one network drives all.

    Attributes:
      figures: What happened since the start.
      lately: What happened since the last report.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        set_speed: float,
        save_frames: Path | None,
        say: Callable[[str], None],
    ) -> None:
        """Takes the wheel.

        Args:
          policy: Has a head for steering and, where set_speed is 0, one for throttle.
          set_speed: mph to keep; 0 leaves the pedals to the network.
          save_frames: Folder for the pictures that come; None keeps none.
          say: Tells the user a line.
        """
        self.figures, self.lately = Figures(), Figures()
        self._policy = policy
        self._set_speed = set_speed
        self._save_frames = save_frames
        self._say = say
        self._lines = 0
        self._clients: dict[str, _Client] = {}
        # One thread: two predictions at once would only wait for each other.
        self._thread = ThreadPoolExecutor(1, "predict")

    def connect(self, client_id: str, address: str) -> None:
        """A simulator has come; its speed controller starts anew."""
        self._clients[client_id] = _Client(address)
        self._tell(f"A simulator has connected from {address}")

    def disconnect(self, client_id: str) -> None:
        """A simulator is gone."""
        client = self._clients.pop(client_id)
        self._tell(f"The simulator at {client.address} is gone after {client.answers:,} answers")

    def trouble(self, what: str) -> None:
        """Counts something that went wrong; `what` is the same text whenever it does."""
        for figures in (self.figures, self.lately):
            figures.troubles[what] += 1

    def report(self) -> None:
        """Tells what happened since the last report, where anything did."""
        if self._lines > _MOST_LINES:
            self._say(f"{self._lines - _MOST_LINES:,} more have come or gone")
        for line in self.lately.lines():
            self._say(line)
        self._lines, self.lately = 0, self.lately.following()

    async def answer(
        self, client_id: str, data: Any, emit: Callable[[str, dict[str, str]], Any]
    ) -> None:
        """Answers telemetry; `emit` sends an event with its data to the client."""
        received = time.perf_counter()
        client = self._clients[client_id]
        if not data:
            # The simulator sends none while a person holds a key.
            for figures in (self.figures, self.lately):
                figures.manual += 1
            client.integral, client.asked = 0.0, None
            await emit("manual", {})
            return
        loop = asyncio.get_running_loop()
        try:
            prediction = await loop.run_in_executor(self._thread, self._predict, data)
        except Exception as error:  # Whatever it is, the next telemetry may be better.
            known = isinstance(error, BadTelemetryError)
            self.trouble(str(error) if known else f"a prediction failed ({type(error).__name__})")
            await emit("steer", _controls(0.0, 0.0, decimal="."))
            return
        steering, throttle = prediction.controls["steering"], self._throttle(client, prediction)
        decimal = prediction.telemetry.decimal
        await emit("steer", _controls(steering, throttle, decimal=decimal))
        answered = time.perf_counter()
        client.answers += 1
        for figures in (self.figures, self.lately):
            figures.predicted(
                received=received, answered=answered, prediction_seconds=prediction.seconds
            )
        if self._save_frames is not None:
            picture = prediction.telemetry.picture
            try:
                await loop.run_in_executor(self._thread, _save, self._save_frames, picture)
            except OSError as error:
                self.trouble(f"a picture that could not be saved ({error.strerror})")

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown()

    def _predict(self, data: Any) -> _Prediction:
        telemetry = read_telemetry(data)
        started = time.perf_counter()
        try:
            values = self._policy([telemetry.image], {"speed": [telemetry.speed]}, rows=1)
        except UserError:
            # Of a picture, the network needs only that the crop leaves something.
            raise BadTelemetryError("an image with fewer rows than are cut off it") from None
        seconds = time.perf_counter() - started
        controls = {name: float(value[0]) for name, value in values.items()}
        if not all(map(math.isfinite, controls.values())):
            raise BadTelemetryError("an image for which the network's answer is no number")
        return _Prediction(telemetry, controls, seconds)

    def _throttle(self, client: _Client, prediction: _Prediction) -> float:
        """From -1 to 1: the simulator has one axis for both pedals."""
        if not self._set_speed:
            controls = prediction.controls
            pedals = controls["throttle"] - controls.get("brake", 0.0)
            return min(max(pedals, -1.0), 1.0)
        now = time.perf_counter()
        seconds = 0.0 if client.asked is None else now - client.asked
        client.asked = now
        lacking = self._set_speed - prediction.telemetry.speed
        throttle, client.integral = control_speed(lacking, client.integral, seconds=seconds)
        return throttle

    def _tell(self, line: str) -> None:
        self._lines += 1
        if self._lines <= _MOST_LINES:
            self._say(line)


def _save(folder: Path, picture: bytes) -> None:
    """Saves a picture under the name that the simulator would give it in a recording."""
    now = datetime.datetime.now()
    suffix = "png" if picture.startswith(b"\x89PNG") else "jpg"
    while True:
        name = f"{DRIVING_CAMERA}_{now:%Y_%m_%d_%H_%M_%S}_{now.microsecond // 1000:03d}"
        try:
            with (folder / f"{name}.{suffix}").open("xb") as file:
                file.write(picture)
            return
        except FileExistsError:
            # Several cars at once.
            now += datetime.timedelta(milliseconds=1)


def _controls(steering: float, throttle: float, *, decimal: str) -> dict[str, str]:
    return {
        "steering_angle": write_number(steering, decimal),
        "throttle": write_number(throttle, decimal),
    }
