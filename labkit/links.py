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
from contextlib import ExitStack, suppress

from labkit.loop import Loop
from labkit.ports import LOOPBACK, free_port, own_socket
from labkit.resp import Conversation
from labkit.services import Address, TcpAddress, UnixAddress

NewSocket = Callable[[], socket.socket]
_CHUNK = 1 << 16
_BACKLOG = 1024
# Answers that one connection may have on their way; the service waits for the process beyond.
_MOST_ON_THE_WAY = 1024
_REBIND_WITHIN_S = 1.0


class Link:
    """The way of `process` to `service`, through `address`, on a socket that `new_socket` makes.

    All methods may be called from any thread. Times are seconds.
    """

    def __init__(
        self,
        loop: Loop,
        *,
        process: str,
        service: str,
        upstream: Address,
        new_socket: NewSocket = own_socket,
    ) -> None:
        self.process = process
        self.service = service
        self._loop = loop
        self._upstream = upstream
        self._new_socket = new_socket
        # Not a port that the system might give to an outgoing connection while the link is refused.
        self._lease = free_port()
        self.address = TcpAddress(LOOPBACK, self._lease.port)
        self._socket = _bound(new_socket(), self._lease.port)
        self._listening = False
        self._serving: set[asyncio.Task[None]] = set()
        self._connections: set[_Connection] = set()
        self._flights = 0
        self._delay = 0.0
        self._limit: int | None = None
        self.held = threading.Event()

    def open(self) -> None:
        """Let connections through."""
        self._loop.call(self._listen)

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
        self._loop.call(self._cut_all)

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

    def _listen(self) -> None:
        self._socket.listen(_BACKLOG)
        asyncio.get_running_loop().add_reader(self._socket, self._accept)
        self._listening = True

    def _shut(self) -> None:
        if self._listening:
            self._listening = False
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            # Bound and silent, so that nobody else can take the port before `open`.
            self._socket = _bound(self._new_socket(), self.address.port)
        self._cut_all()

    def _cut_all(self) -> None:
        for serving in self._serving:
            serving.cancel()

    def _send_held(self) -> None:
        for connection in self._connections:
            connection.send_held()

    def _accept(self) -> None:
        """Take one connection. It is known from here on, so that no cut can miss it."""
        with suppress(OSError):  # whoever it was has left again
            accepted, _ = self._socket.accept()
            serving = asyncio.get_running_loop().create_task(self._serve(accepted))
            self._serving.add(serving)
            serving.add_done_callback(self._serving.discard)
            serving.add_done_callback(lambda _: accepted.close())

    async def _serve(self, accepted: socket.socket) -> None:
        with ExitStack() as stack, suppress(OSError):
            accepted.setblocking(False)
            reader, down = await asyncio.open_connection(sock=accepted, limit=_CHUNK)
            stack.callback(down.transport.abort)
            upstream_reader, up = await _connect(self._upstream)
            stack.callback(up.transport.abort)
            connection = _Connection(self, down, up)
            self._connections.add(connection)
            stack.callback(self._connections.discard, connection)
            await connection.serve(reader, upstream_reader)


class _Connection:
    """Both directions of one connection of a link."""

    def __init__(self, link: Link, down: asyncio.StreamWriter, up: asyncio.StreamWriter) -> None:
        self._link = link
        self._down = down
        self._up = up
        self._conversation = Conversation() if link.service == "redis" else None
        self._held: list[bytes] | None = None
        self._on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MOST_ON_THE_WAY)

    async def serve(self, reader: asyncio.StreamReader, upstream_reader: asyncio.StreamReader) -> None:
        """Pass bytes on until the service has said farewell and the process has all its answers."""
        others = [
            asyncio.create_task(self._take_answers(upstream_reader)),
            asyncio.create_task(self._send_all(reader)),
        ]
        try:
            await self._deliver_all()
            self._down.close()
            await self._down.wait_closed()
        finally:
            for other in others:
                other.cancel()

    async def _send_all(self, reader: asyncio.StreamReader) -> None:
        """From the process to the service. The farewell of a process that is held comes before its bytes."""
        try:
            while data := await reader.read(_CHUNK):
                self._send(data)
                await self._up.drain()
        except OSError:
            self._up.transport.abort()
        if self._held is not None:
            self._up.transport.abort()
        elif not self._up.transport.is_closing():
            self._up.write_eof()

    def _send(self, data: bytes) -> None:
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

    def send_held(self) -> None:
        held, self._held = self._held or [], None
        for data in held:
            _write(self._up, data)

    async def _take_answers(self, reader: asyncio.StreamReader) -> None:
        """From the service; the end is an empty answer that is on its way as all others are."""
        loop = asyncio.get_running_loop()
        data = b"more"
        while data:
            try:
                data = await reader.read(_CHUNK)
            except OSError:
                data = b""
            await self._on_the_way.put((loop.time() + self._link._delay, data))

    async def _deliver_all(self) -> None:
        """To the process, each answer when it is due, none before the one that came before it."""
        loop = asyncio.get_running_loop()
        while True:
            due, data = await self._on_the_way.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if not data:
                return
            if self._conversation is not None:
                self._conversation.answered(data)
            _write(self._down, data)
            await self._down.drain()


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.transport.is_closing():
        writer.write(data)


async def _connect(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(address, UnixAddress):
        return await asyncio.open_unix_connection(address.path, limit=_CHUNK)
    return await asyncio.open_connection(address.host, address.port, limit=_CHUNK)


def _bound(listener: socket.socket, port: int) -> socket.socket:
    """The socket, bound to the port, not listening yet."""
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
