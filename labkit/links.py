"""A TCP proxy between one process and one service: it counts, delays, holds and cuts, on command.

Every process reaches every service through a link of its own, so what happens to one process's
traffic happens to no other's.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from labkit.checks import Inconclusive
from labkit.dialogue import Sent
from labkit.loop import Loop
from labkit.pgwire import Statement
from labkit.ports import LOOPBACK, bound_socket, free_port, own_socket
from labkit.relay import CHUNK, Connection, Traffic, connect, dialogues
from labkit.services import Address, TcpAddress
from labkit.traps import Trap, Way

if TYPE_CHECKING:
    from labkit.kafkawire import Mend, Message

NewSocket = Callable[[], socket.socket]
_BACKLOG = 1024


class Link:
    """The way of `process` to `service`, through `address`, on a socket that `new_socket` makes.

    `mend` tells what a Kafka is asked in place of each request.

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
        clock: Callable[[], float] = time.monotonic,
        mend: Mend | None = None,
    ) -> None:
        self.process = process
        self.service = service
        self._loop = loop
        self._upstream = upstream
        self._new_socket = new_socket
        # Not a port that the system might give to an outgoing connection while the link is refused.
        self._lease = free_port()
        self.address = TcpAddress(LOOPBACK, self._lease.port)
        self._socket = bound_socket(new_socket(), self._lease.port)
        self._listening = False
        self._serving: set[asyncio.Task[None]] = set()
        self._connections: set[Connection] = set()
        self._traffic = Traffic(service, dialogues(service, clock, at=self.address, mend=mend))

    def open(self) -> None:
        """Let connections through."""
        self._loop.call(self._listen)

    def close(self) -> None:
        """Cut everything and give the port back. Needs no other socket: its place may be closed already."""
        self._loop.call(self._leave)
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
        self._traffic.delay = seconds

    def hold_after(self, flights: int) -> None:
        """Let `flights` more flights to Redis pass, then hold what the process sends; `held` tells when."""
        self._traffic.held.clear()
        self._traffic.limit = self._traffic.flights + flights

    @property
    def held(self) -> threading.Event:
        return self._traffic.held

    def release(self) -> None:
        """Send on what was held by `hold_after`, and hold no more."""
        self._traffic.limit = None
        self._loop.call(self._send_held)

    @contextmanager
    def trap(self, matches: Callable[[Sent], bool], *, way: Way, most: int = 1) -> Iterator[Trap[Sent]]:
        """Hold the first requests that match, until they are released or the block ends; see Trap."""
        trap = Trap(self._loop, matches, way=way, most=most)
        self._loop.call(self._traffic.traps.append, trap)
        try:
            yield trap
        finally:
            trap.release()

    @property
    def fault(self) -> Exception | None:
        """What went wrong in the link itself, if anything: nothing that it did to a process counts."""
        return self._traffic.fault

    @property
    def flights(self) -> int:
        """Flights to Redis so far; see Conversation."""
        return self._traffic.flights

    @property
    def statements(self) -> list[Statement]:
        """What was sent to Postgres so far, in order. Raises Inconclusive where that cannot be told."""
        return self._requests()

    @property
    def messages(self) -> list[Message]:
        """What was sent to Kafka so far, in order. Raises Inconclusive where that cannot be told."""
        return self._requests()

    def _requests(self) -> list[Any]:
        if self._traffic.unreadable:
            to = self.service.capitalize()
            raise Inconclusive(f"{self.process} speaks to {to} in a way that cannot be followed: TLS?")
        return list(self._traffic.requests)

    def _listen(self) -> None:
        self._socket.listen(_BACKLOG)
        asyncio.get_running_loop().add_reader(self._socket, self._accept)
        self._listening = True

    def _leave(self) -> None:
        if self._listening:
            self._listening = False
            asyncio.get_running_loop().remove_reader(self._socket)
        self._cut_all()

    def _shut(self) -> None:
        listened = self._listening
        self._leave()
        if listened:
            self._socket.close()
            # Bound and silent, so that nobody else can take the port before `open`.
            self._socket = bound_socket(self._new_socket(), self.address.port)

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
            reader, down = await asyncio.open_connection(sock=accepted, limit=CHUNK)
            stack.callback(down.transport.abort)
            upstream_reader, up = await connect(self._upstream)
            stack.callback(up.transport.abort)
            connection = Connection(self._traffic, down, up)
            self._connections.add(connection)
            stack.callback(self._connections.discard, connection)
            await connection.serve(reader, upstream_reader)
