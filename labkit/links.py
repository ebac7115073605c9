"""A TCP proxy between one process and one service: it counts, delays, holds and cuts, on command.

Every process reaches every service through a link of its own, so what happens to one process's
traffic happens to no other's.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable

from labkit.loop import Loop
from labkit.ports import LOOPBACK, free_port
from labkit.resp import Conversation
from labkit.services import Address, TcpAddress, UnixAddress

_CHUNK = 1 << 16
_REBIND_WITHIN_S = 1.0


class Link:
    """The way of `process` to `service`, through `address`.

    All methods may be called from any thread. Times are seconds.
    """

    def __init__(self, loop: Loop, *, process: str, service: str, upstream: Address) -> None:
        self.process = process
        self.service = service
        self._loop = loop
        self._upstream = upstream
        # Not a port that the system might give to an outgoing connection while the link is refused.
        self._lease = free_port()
        self.address = TcpAddress(LOOPBACK, self._lease.port)
        self._socket = _bound(self._lease.port)
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._flights = 0
        self._delay = 0.0
        self._limit: int | None = None
        self.held = threading.Event()

    def open(self) -> None:
        """Let connections through."""
        self._loop.run(self._listen())

    def close(self) -> None:
        """Cut everything and give the port back."""
        self._loop.call(self._shut)
        self._socket.close()
        self._lease.release()

    def refuse(self) -> None:
        """Cut everything and refuse connections, as the system of a stopped server does."""
        self._loop.call(self._shut)

    def cut(self) -> None:
        """End all connections; new ones are let through."""
        self._loop.call(self._abort_all)

    def delay(self, seconds: float) -> None:
        """Let each answer of the service arrive `seconds` later, from now on."""
        self._delay = seconds

    def hold_after(self, flights: int) -> None:
        """Let `flights` more flights pass, then hold what the process sends; `held` tells when."""
        self.held.clear()
        self._limit = self._flights + flights

    def release(self) -> None:
        """Send on what was held and hold no more."""
        self._limit = None
        self._loop.call(self._send_held)

    @property
    def flights(self) -> int:
        """Flights so far (see Conversation); only Redis is followed."""
        return self._flights

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, sock=self._socket, backlog=1024)

    def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            # Bound and silent, so that nobody else can take the port before `open`.
            self._socket = _bound(self.address.port)
        self._abort_all()

    def _abort_all(self) -> None:
        for connection in list(self._connections):
            connection.abort()

    def _send_held(self) -> None:
        for connection in self._connections:
            connection.send_held()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_reader, upstream_writer = await _connect(self._upstream)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(self, writer, upstream_writer)
        self._connections.add(connection)
        try:
            await asyncio.gather(
                connection.pump(reader, connection.from_process),
                connection.pump(upstream_reader, connection.from_service),
            )
        finally:
            connection.abort()
            self._connections.discard(connection)


class _Connection:
    """Both directions of one connection of a link."""

    def __init__(self, link: Link, down: asyncio.StreamWriter, up: asyncio.StreamWriter) -> None:
        self._link = link
        self._down = down
        self._up = up
        self._conversation = Conversation() if link.service == "redis" else None
        self._held: list[bytes] | None = None

    async def pump(self, reader: asyncio.StreamReader, take: Callable[[bytes], None]) -> None:
        try:
            while data := await reader.read(_CHUNK):
                take(data)
        except OSError:
            pass
        # Either end's farewell ends both; replies that are on their way still arrive.
        asyncio.get_running_loop().call_later(self._link._delay, self.abort)

    def from_process(self, data: bytes) -> None:
        link = self._link
        if self._conversation is not None and self._conversation.sent(data):
            link._flights += 1
            if link._limit is not None and link._flights > link._limit and self._held is None:
                self._held = []
                link.held.set()
        if self._held is not None:
            self._held.append(data)
        else:
            _write(self._up, data)

    def from_service(self, data: bytes) -> None:
        if self._link._delay:
            asyncio.get_running_loop().call_later(self._link._delay, self._deliver, data)
        else:
            self._deliver(data)

    def send_held(self) -> None:
        held, self._held = self._held or [], None
        for data in held:
            _write(self._up, data)

    def abort(self) -> None:
        self._down.transport.abort()
        self._up.transport.abort()

    def _deliver(self, data: bytes) -> None:
        if self._conversation is not None:
            self._conversation.answered(data)
        _write(self._down, data)


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.transport.is_closing():
        writer.write(data)


async def _connect(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(address, UnixAddress):
        return await asyncio.open_unix_connection(address.path, limit=_CHUNK)
    return await asyncio.open_connection(address.host, address.port, limit=_CHUNK)


def _bound(port: int) -> socket.socket:
    """A socket bound to the port, not listening yet."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setblocking(False)
    deadline = time.monotonic() + _REBIND_WITHIN_S
    while True:
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            # A program that is being started holds copies of our sockets until it is loaded.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.001)
        else:
            return listener
