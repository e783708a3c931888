"""The simulator gets the network's own answers; bad telemetry and bad clients leave it driving."""

import asyncio
import base64
import io
import json
import math
import re

import numpy as np
import pytest
from PIL import Image

from jaxdrive.data.sources import udacity
from jaxdrive.driving.udacity_server import listen
from jaxdrive.errors import UserError
from tests.driving.simulator import (
    PATIENCE,
    event,
    jpeg,
    raw,
    server,
    simulator,
    small_policy,
    telemetry,
    wanted,
)
from tests.recordings import image_name, record

GOOD = jpeg(1)


@pytest.fixture(scope="module")
def policy():
    return small_policy()


async def assert_drives(url, policy):
    """A simulator that comes now gets the network's steering."""
    async with simulator(url) as car:
        assert (await car.steer(telemetry(GOOD)))[0] == wanted(policy, GOOD)["steering"]


@pytest.mark.parametrize("options", [{}, {"transports": ["websocket"]}])
def test_answers_are_the_network_s_own(policy, tmp_path, options):
    record(tmp_path, 12, size=(64, 48))

    async def drive():
        async with server(policy, set_speed=0) as (driver, url), simulator(url, **options) as car:
            for row in range(12):
                picture = (tmp_path / "IMG" / image_name("center", row)).read_bytes()
                speed = 30 - row * 1.6132
                steering, throttle = await car.steer(telemetry(picture, speed=f"{speed:.4f}"))
                own = wanted(policy, picture, round(speed, 4))
                assert steering == own["steering"]
                assert throttle == own["throttle"] - own["brake"]
            return driver.figures

    figures = asyncio.run(drive())
    assert figures.predictions == len(figures.answer_seconds) == 12
    assert not figures.troubles
    assert all(
        0 < prediction < answer
        for prediction, answer in zip(
            figures.prediction_seconds, figures.answer_seconds, strict=True
        )
    )


def test_the_simulator_s_own_client_is_served(policy):
    """It asks without having connected, pings, and here leaves the server's pings unanswered."""

    async def drive():
        options = {"ping_interval": 0.05, "ping_timeout": PATIENCE}
        async with server(policy, **options) as (driver, url), raw(url) as connection:
            await connection.send_str(event(telemetry(GOOD)))
            await connection.send_str("2")
            packets = [await asyncio.wait_for(connection.receive_str(), PATIENCE) for _ in range(4)]
            assert packets[0].startswith('0{"sid":')
            assert packets[1].startswith("40")
            assert sorted(packet[:2] for packet in packets[2:]) == ["3", "42"]
            # A next ping comes only to a client that is there: what it asks shows that.
            pings = 0
            while pings < 3:
                await connection.send_str(event(telemetry(GOOD)))
                answer = ""
                while not answer.startswith("42"):
                    answer = await asyncio.wait_for(connection.receive_str(), PATIENCE)
                    pings += answer == "2"
                steering = float(json.loads(answer[2:])[1]["steering_angle"])
                assert steering == wanted(policy, GOOD)["steering"]
            # It says farewell twice.
            await connection.send_str("41")
            await connection.send_str("1")
            await assert_drives(url, policy)
            assert not driver.figures.troubles

    asyncio.run(drive())


def test_a_ping_alone_shows_that_a_client_is_there(policy):
    async def drive():
        options = {"ping_interval": 0.05, "ping_timeout": PATIENCE}
        async with server(policy, **options) as (driver, url), raw(url) as connection:
            pings = 0
            while pings < 3:
                await connection.send_str("2")
                answer = ""
                while answer != "3":
                    answer = await asyncio.wait_for(connection.receive_str(), PATIENCE)
                    pings += answer == "2"
            assert not connection.closed
            assert not driver.figures.troubles

    asyncio.run(drive())


@pytest.mark.parametrize("data", [None, {}, ""])
def test_a_person_at_the_wheel(policy, data):
    async def drive():
        async with server(policy) as (driver, url), simulator(url) as car:
            assert await car.ask(data) == ("manual", {})
            return driver.figures

    assert asyncio.run(drive()).lines() == ["1 x a person at the wheel"]


def picture_of(width: int, height: int) -> str:
    file = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


BAD = {
    "telemetry that is not texts by name": ["hello", ["a"], 5],
    "without a text for image and speed": [{"steering_angle": "0", "throttle": "0"}],
    "without a text for image": [{"image": None}, {"image": 7}],
    "without a text for speed": [{"speed": 9.5}, {"speed": ["1"]}],
    "a speed that is no number": [{"speed": s} for s in ("", "fast", "NaN", "-inf", "1,5.5")],
    "an image that is not base64": [{"image": "&&&&"}, {"image": "abc"}, {"image": "bäh!"}],
    "an empty image": [{"image": ""}],
    "neither JPEG nor PNG": [
        {"image": base64.b64encode(file).decode()}
        for file in (b"GIF89a", GOOD[:-200], GOOD[:20], bytes(2000))
    ],
    "an image of more than 4,000,000 pixels": [{"image": picture_of(5000, 1000)}],
    "fewer rows than are cut off": [{"image": picture_of(300, 6)}, {"image": picture_of(1, 1)}],
}


@pytest.mark.parametrize(
    ("reason", "data"), [(reason, data) for reason, cases in BAD.items() for data in cases]
)
def test_broken_telemetry_lets_go_of_wheel_and_pedals(policy, reason, data):
    if isinstance(data, dict) and "steering_angle" not in data:
        data = telemetry(GOOD) | data

    async def drive():
        async with server(policy) as (driver, url), simulator(url) as car:
            assert await car.steer(data) == (0.0, 0.0)
            assert (await car.steer(telemetry(GOOD)))[0] == wanted(policy, GOOD)["steering"]
            return driver.figures

    figures = asyncio.run(drive())
    assert figures.predictions == 1
    [(told, count)] = figures.troubles.items()
    assert reason in told
    assert count == 1


def test_pictures_of_any_size_are_fitted(policy):
    async def drive():
        async with server(policy) as (_, url), simulator(url) as car:
            for size in ((320, 160), (16, 7), (1000, 30)):
                picture = jpeg(3, size)
                own = wanted(policy, picture)
                assert (await car.steer(telemetry(picture)))[0] == own["steering"]

    asyncio.run(drive())


def test_a_network_that_says_what_is_no_number(policy):
    class Lost:
        def __call__(self, images, scalars, *, rows):
            told = policy(images, scalars, rows=rows)
            return told if scalars["speed"] == [9.5] else told | {"steering": [math.nan]}

    async def drive():
        async with server(Lost()) as (driver, url), simulator(url) as car:
            assert await car.steer(telemetry(GOOD, speed="1.0")) == (0.0, 0.0)
            assert (await car.steer(telemetry(GOOD)))[0] == wanted(policy, GOOD)["steering"]
            return driver.figures.troubles

    assert sum(asyncio.run(drive()).values()) == 1


def test_speed_is_kept_and_every_client_starts_anew(policy):
    async def drive():
        firsts = []
        async with server(policy, set_speed=5.0) as (_, url):
            for _ in range(2):
                async with simulator(url) as car:
                    throttles = [
                        (await car.steer(telemetry(GOOD, speed="3.0")))[1] for _ in range(5)
                    ]
                    assert throttles == sorted(set(throttles))
                    firsts.append(throttles[0])
                    assert (await car.steer(telemetry(GOOD, speed="30")))[1] == -1
        assert firsts[0] == firsts[1] > 0

    asyncio.run(drive())


def test_a_simulator_that_writes_decimal_commas_gets_them(policy):
    async def drive():
        async with server(policy) as (_, url), simulator(url) as car:
            _, answer = await car.ask(telemetry(GOOD, speed="9,5000"))
            assert "." not in "".join(answer.values())
            steering = float(answer["steering_angle"].replace(",", "."))
            assert steering == wanted(policy, GOOD)["steering"]

    asyncio.run(drive())


def test_pictures_are_saved_as_they_came(policy, tmp_path):
    async def drive():
        async with server(policy, save_frames=tmp_path) as (driver, url):
            async with simulator(url) as car:
                for number in range(5):
                    await car.steer(telemetry(jpeg(number)))
                await car.steer({"image": "&&&&", "speed": "1"})
            assert not driver.figures.troubles.keys() - {"an image that is not base64"}

    asyncio.run(drive())
    files = sorted(tmp_path.iterdir())
    assert all(udacity._TIME.search(file.name) for file in files)
    assert [file.read_bytes() for file in files] == [jpeg(number) for number in range(5)]


def test_a_folder_that_cannot_be_written_stops_nobody(policy, tmp_path):
    async def drive():
        async with server(policy, save_frames=tmp_path / "gone") as (driver, url):
            async with simulator(url) as car:
                for _ in range(2):
                    await car.steer(telemetry(GOOD))
            return driver.figures

    figures = asyncio.run(drive())
    assert figures.predictions == 2
    [told] = figures.troubles
    assert "No such file" in told


def test_a_port_in_use_or_a_strange_host_says_what_to_do():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UserError, match=rf"127\.0\.0\.1:{port} \(.*in use.*--port"):
            listen("127.0.0.1", port)
    with pytest.raises(UserError, match=r"nowhere\.invalid:4567"):
        listen("nowhere.invalid", 4567)


def test_what_is_reported(policy):
    lines = []

    async def drive():
        async with server(policy, say=lines.append) as (driver, url), simulator(url) as car:
            driver.report()
            assert re.fullmatch(r"A simulator has connected from 127\.0\.0\.1", lines.pop())
            for _ in range(3):
                await car.steer(telemetry(GOOD))
            await car.steer(telemetry(b""))
            driver.report()
            number = r"[\d,.]+"
            latency = rf"p50 {number} ms, p95 {number} ms"
            assert re.fullmatch(
                rf"3 predictions, {number} a second; answer {latency}; prediction alone {latency}",
                lines[0],
            )
            assert lines[1:] == ["1 x an empty image"]
            lines.clear()
            driver.report()
            assert lines == []
            assert driver.figures.predictions == 3

    asyncio.run(drive())
