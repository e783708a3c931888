"""python-socketio's server, made to serve clients of an earlier version of its protocol as well.

The simulator's client says that it speaks Engine.IO 4 but behaves as clients of version 3 did,
which a server of today drops without a word. It
  - sends its first event without asking to be connected;
  - sends pings itself, and hangs up where no pong comes;
  - need not answer the server's pings.
Clients of today are served as ever. What the events mean is left to `udacity_driver.py`.

Protocols: https://socket.io/docs/v4/engine-io-protocol/ and
https://socket.io/docs/v4/socket-io-protocol/, each with what changed between versions.
"""

from typing import Any

import socketio
from engineio.async_drivers import aiohttp as driver

# What a client may say in Engine.IO: CLOSE, the PING before an UPGRADE, PONG, UPGRADE, NOOP; and
# MESSAGE, with a Socket.IO packet in it, which begins with its type.
_PLAIN = frozenset(("1", "2probe", "3", "5", "6"))
_MESSAGES = frozenset(f"4{kind}" for kind in range(7))
_PING, _PONG = "2", "3"
# Types of Socket.IO packets: an event; and those that announce binary packets to come.
_EVENT, _BINARY = "2", ("5", "6")
# More answers than a client that reads them ever leaves waiting.
_MOST_UNREAD = 100


class ProtocolError(Exception):
    """A packet that is not answered; the text is the same for all with this fault."""


class Server(socketio.AsyncServer):
    """A server on aiohttp that handles a client's events one after the other.

    So a client that sends faster than it is answered has to wait, and takes no more memory than
    its connection's buffers. What is overridden here is not part of socketio's interface, so its
    major version is pinned.
    """

    def __init__(self, **options: Any) -> None:
        # An earlier client pings every 25 seconds; that too shows that it is there.
        options = {"ping_timeout": 60} | options
        super().__init__(async_mode="aiohttp", async_handlers=False, **options)
        # The only place where engineio says what reads from a connection.
        self.eio._async = self.eio._async | {"websocket": _WebSocket}

    async def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        client = self.eio.sockets.get(eio_sid)
        if client is None:
            return
        # Whatever a client says answers the server's ping: it is there.
        client.schedule_ping()
        if not isinstance(data, str) or data.startswith(_BINARY):
            raise ProtocolError("a binary packet")
        if client.queue.qsize() > _MOST_UNREAD:
            raise ProtocolError("a packet of a client that does not read its answers")
        if data.startswith(_EVENT) and self.manager.sid_from_eio_sid(eio_sid, "/") is None:
            await self._handle_connect(eio_sid, "/", None)
        await super()._handle_eio_message(eio_sid, data)

    async def _handle_event(
        self, eio_sid: str, namespace: str | None, number: int | None, data: Any
    ) -> None:
        # socketio would take these for its own words on connections.
        if data[0] in self.reserved_events:
            raise ProtocolError("an event with a reserved name")
        await super()._handle_event(eio_sid, namespace, number, data)


class _WebSocket(driver.WebSocket):
    """A connection whose pings are answered and whose noise is not heard."""

    async def wait(self) -> str:
        """The next packet; raises OSError where the connection has ended."""
        while True:
            packet = await super().wait()
            if packet == _PING:
                await self.send(_PONG)
                # As good as an answer to the server's own ping.
                return _PONG
            if isinstance(packet, str) and (packet in _PLAIN or packet[:2] in _MESSAGES):
                return packet
