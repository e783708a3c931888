"""The server that the Udacity simulator calls to be driven: listens, reports, ends cleanly.

What a simulator is answered is left to `udacity_driver.py`, versions of the protocol to
`legacy_clients.py`.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web

from jaxdrive.driving.legacy_clients import ProtocolError, Server
from jaxdrive.driving.policy import Policy
from jaxdrive.driving.udacity_driver import UdacityDriver
from jaxdrive.errors import UserError
from jaxdrive.logs import logger
from jaxdrive.training.signals import StopRequest

# The simulator calls no other.
PORT = 4567

_REPORT_SECONDS = 5.0
# How soon Ctrl-C is noticed.
_NOTICE_SECONDS = 0.1
# Given to clients that are told to go.
_FAREWELL_SECONDS = 1.0


def listen(host: str, port: int) -> socket.socket:
    """Takes a port, so that nothing is loaded in vain; who calls waits until it is served.

    Args:
      host: Name or address of this machine's that may be called.
      port: 0 takes any that is free.

    Raises:
      UserError: It cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}:{port} ({error.strerror}): end the program that uses it,"
            f" perhaps another drive, or name another --port or --host. The simulator calls port"
            f" {PORT}"
        ) from error


def serve(
    policy: Policy, listener: socket.socket, *, set_speed: float, save_frames: Path | None
) -> None:
    """Drives every simulator that calls, until Ctrl-C or SIGTERM; then tells how it went.

    Args:
      policy: At the wheel.
      listener: Where they call, from `listen`.
      set_speed: mph to keep; 0 leaves the pedals to the network.
      save_frames: Folder for the pictures that come; None keeps none.
    """
    _compile(policy)
    with StopRequest() as stop:
        asyncio.run(_serve_until(stop, policy, listener, set_speed, save_frames))


def _compile(policy: Policy) -> None:
    fit = policy.fit
    rows = fit.crop_top + fit.height + fit.crop_bottom
    blank = np.zeros((rows, fit.width, 3), np.uint8)
    policy([blank], {"speed": [0.0]}, rows=1)


async def _serve_until(
    stop: StopRequest,
    policy: Policy,
    listener: socket.socket,
    set_speed: float,
    save_frames: Path | None,
) -> None:
    driver = UdacityDriver(policy, set_speed=set_speed, save_frames=save_frames, say=logger.info)
    loop = asyncio.get_running_loop()
    async with serving(driver, listener):
        _say_where(listener, policy, set_speed, save_frames)
        next_report = loop.time() + _REPORT_SECONDS
        while not stop.number:
            await asyncio.sleep(_NOTICE_SECONDS)
            if loop.time() >= next_report:
                driver.report()
                next_report += _REPORT_SECONDS
    logger.info("Stopped. In all:")
    for line in driver.figures.lines() or ["no simulator asked anything"]:
        logger.info("  %s", line)


def _say_where(
    listener: socket.socket, policy: Policy, set_speed: float, save_frames: Path | None
) -> None:
    host, port = listener.getsockname()[:2]
    pedals = f"kept at {set_speed:g} mph" if set_speed else "left to the network"
    logger.info(
        "Listening on %s:%d: the network of step %d steers, the speed is %s%s",
        host,
        port,
        policy.step,
        pedals,
        f", pictures are saved in {save_frames}" if save_frames else "",
    )
    logger.info(
        "Now start the simulator, choose a track and then AUTONOMOUS MODE: it calls port %d of its"
        " own machine. Holding W or S in it takes the wheel. Ctrl-C here ends.",
        PORT,
    )


@contextlib.asynccontextmanager
async def serving(
    driver: UdacityDriver, listener: socket.socket, **options: Any
) -> AsyncIterator[None]:
    """Serves clients in the background.

    Args:
      driver: Answers them; closed in the end.
      listener: Where they call; closed in the end.
      **options: Of `legacy_clients.Server`.
    """
    faults = logging.Logger("faults", logging.ERROR)
    faults.addHandler(_Faults(driver))
    server = Server(logger=faults, engineio_logger=faults, **options)

    async def connect(client_id: str, environ: Any, _authentication: Any = None) -> None:
        driver.connect(client_id, environ["aiohttp.request"].remote)

    async def telemetry(client_id: str, data: Any = None, *_: Any) -> None:
        async def emit(event: str, answer: dict[str, str]) -> None:
            await server.emit(event, answer, to=client_id)

        await driver.answer(client_id, data, emit)

    async def disconnect(client_id: str, _reason: str) -> None:
        driver.disconnect(client_id)

    for handler in (connect, telemetry, disconnect):
        server.on(handler.__name__, handler)
    application = web.Application()
    server.attach(application)
    runner = web.AppRunner(
        application, access_log=None, logger=faults, shutdown_timeout=_FAREWELL_SECONDS
    )
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield
    finally:
        await _say_farewell(server)
        await runner.cleanup()
        driver.close()


async def _say_farewell(server: Server) -> None:
    for client in list(server.eio.sockets.values()):
        await client.close(wait=False)
        # Ends what writes to the client, after the farewell.
        await client.queue.put(None)
    await server.shutdown()


class _Faults(logging.Handler):
    """Counts what libraries would log with a traceback for every bad packet of a client."""

    def __init__(self, driver: UdacityDriver) -> None:
        super().__init__()
        self._driver = driver

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ProtocolError):
            self._driver.trouble(str(error))
        elif error is not None:
            self._driver.trouble(f"a packet that cannot be read ({type(error).__name__})")
        else:
            self._driver.trouble(f"a request refused: {record.getMessage()}")
