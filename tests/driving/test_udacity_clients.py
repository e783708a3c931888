"""Clients that send noise, hang up or flood: they cost themselves alone."""

import asyncio
import contextlib
import json
import socket

import aiohttp
import pytest

from tests.driving.simulator import (
    PATIENCE,
    event,
    jpeg,
    next_steer,
    raw,
    server,
    simulator,
    small_policy,
    tasks,
    telemetry,
    wanted,
)

GOOD = jpeg(1)


async def assert_drives(url, policy):
    """A simulator that comes now gets the network's steering."""
    async with simulator(url) as car:
        assert (await car.steer(telemetry(GOOD)))[0] == wanted(policy, GOOD)["steering"]


@pytest.fixture(scope="module")
def policy():
    return small_policy()


@pytest.mark.parametrize(
    "packet",
    [
        "",
        "x",
        "²",
        "9",
        "4",
        "42",
        "42[",
        "42[]",
        "42{}",
        '42["telemetry"',
        '42[["telemetry"]]',
        '42["connect"]',
        '42["disconnect"]',
        '42["disconnect", "a reason"]',
        '42["unknown", 1]',
        '4{"a": 1}',
        "40/elsewhere,",
        "43[]",
        "44",
        '451-["telemetry",{"_placeholder":true,"num":0}]',
        "4" + "[" * 100_000,
        "42" + "[" * 100_000,
        "42" + "1" * 200,
        "5",
        "6",
        "0",
        b"\x00\x01",
        b"",
    ],
    ids=lambda packet: repr(packet[:20]),
)
def test_packets_that_mean_nothing_leave_the_connection_alone(policy, packet):
    async def drive():
        async with server(policy) as (_, url):
            async with raw(url) as connection:
                await connection.send_str("40")
                if isinstance(packet, bytes):
                    await connection.send_bytes(packet)
                else:
                    await connection.send_str(packet)
                await connection.send_str(event(telemetry(GOOD)))
                answer = await next_steer(connection)
                assert float(answer["steering_angle"]) == wanted(policy, GOOD)["steering"]
            await assert_drives(url, policy)

    asyncio.run(drive())


def test_a_huge_payload_ends_its_own_connection_alone(policy):
    async def drive():
        async with server(policy) as (_, url), simulator(url) as car:
            async with raw(url) as connection:
                # The connection may end while this is still being sent.
                with contextlib.suppress(OSError):
                    await connection.send_str(event(telemetry(bytes(3_000_000))))
                message = await asyncio.wait_for(connection.receive(), PATIENCE)
                while message.type is aiohttp.WSMsgType.TEXT:
                    assert "steer" not in message.data
                    message = await asyncio.wait_for(connection.receive(), PATIENCE)
            assert (await car.steer(telemetry(GOOD)))[0] == wanted(policy, GOOD)["steering"]

    asyncio.run(drive())


def test_clients_that_hang_up(policy):
    lines = []

    async def drive():
        async with server(policy, say=lines.append) as (driver, url):
            for number in range(30):
                async with raw(url) as connection:
                    await connection.send_str(event(telemetry(GOOD)))
                    if number % 2:
                        # Without a word of farewell, half a packet on the way.
                        connection.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            await assert_drives(url, policy)
            driver.report()

    asyncio.run(drive())
    come_and_gone = [line for line in lines if "simulator" in line]
    assert 5 < len(come_and_gone) < 15
    assert any("more have come or gone" in line for line in lines)


def test_a_flood_is_answered_in_order_and_takes_no_tasks(policy):
    pictures = [jpeg(number) for number in range(10)]
    own = [wanted(policy, picture)["steering"] for picture in pictures]
    assert len(set(own)) == len(own)

    async def drive():
        async with server(policy) as (_, url), raw(url) as connection:
            before, most = tasks(), 0

            async def flood():
                for number in range(300):
                    await connection.send_str(event(telemetry(pictures[number % 10])))

            flooding = asyncio.create_task(flood())
            for number in range(300):
                answer = await next_steer(connection)
                assert float(answer["steering_angle"]) == own[number % 10]
                most = max(most, tasks())
            await flooding
            assert most < before + 20

    asyncio.run(drive())


def test_a_client_that_reads_no_answer_gets_no_more_of_them(policy):
    async def drive():
        async with server(policy) as (driver, url), aiohttp.ClientSession() as session:
            polling = f"{url}/socket.io/?EIO=4&transport=polling"
            async with session.get(polling) as response:
                client_id = json.loads((await response.text())[1:])["sid"]
            for _ in range(60):
                packets = "\x1e".join(["40"] + [event(telemetry(b""))] * 10)
                async with session.post(f"{polling}&sid={client_id}", data=packets) as response:
                    assert response.status == 200
            await assert_drives(url, policy)
            return driver.figures.troubles

    troubles = asyncio.run(drive())
    assert troubles["a packet of a client that does not read its answers"] > 300
    assert troubles["an empty image"] <= 101
