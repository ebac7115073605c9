"""One connection of a link: both directions, message by message, held and delayed as the link is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from labkit import pgwire
from labkit.dialogue import Dialogue, Part
from labkit.resp import Conversation
from labkit.services import Address, TcpAddress, UnixAddress
from labkit.traps import Trap, Way

if TYPE_CHECKING:
    from labkit.kafkawire import Mend

CHUNK = 1 << 16
# Answers that one connection may have on their way; the service waits for the process beyond.
_MOST_ON_THE_WAY = 1024
NewDialogue = Callable[[], Dialogue[Any]]


def dialogues(
    service: str, clock: Callable[[], float], *, at: TcpAddress, mend: Mend | None = None
) -> NewDialogue | None:
    """What follows each connection to a service whose requests are told one by one; see Link."""
    if service == "postgres":
        numbers = count(1)
        return lambda: pgwire.Dialogue(clock, next(numbers))
    if service == "kafka":
        # Links to others need not wait until Kafka's client is imported: 0.3 s.
        from labkit import kafkawire

        return partial(kafkawire.Dialogue, clock, at, mend=mend or kafkawire.unmended)
    return None


class Traffic:
    """What a link knows of the traffic of all its connections, and does with it.

    flights     flights to Redis so far (see Conversation)
    limit       hold what the process sends once there are more flights than this; `held` tells when
    delay       seconds by which each answer comes later
    requests    all that were sent, in order: statements to Postgres, messages to Kafka
    fault       what went wrong in the following itself, if anything
    unreadable  whether some connection could not be followed: nothing was counted there
    """

    def __init__(self, service: str, new_dialogue: NewDialogue | None) -> None:
        self.service = service
        self.new_dialogue = new_dialogue
        self.flights = 0
        self.limit: int | None = None
        self.held = threading.Event()
        self.delay = 0.0
        self.requests: list[Any] = []
        self.traps: list[Trap[Any]] = []
        self.unreadable = False
        self.fault: Exception | None = None

    def trap_for(self, request: object) -> Trap[Any] | None:
        """The trap that this request falls into."""
        # In place: `Link.trap` may have the list in its hand already, on another thread.
        self.traps[:] = [trap for trap in self.traps if not trap.is_sprung]
        return next((trap for trap in self.traps if trap.takes(request)), None)


class Connection:
    """Both directions of one connection of a link, on the loop's thread."""

    def __init__(self, traffic: Traffic, down: asyncio.StreamWriter, up: asyncio.StreamWriter) -> None:
        self._traffic = traffic
        self._down = down
        self._up = up
        self._conversation = Conversation() if traffic.service == "redis" else None
        self._dialogue = traffic.new_dialogue() if traffic.new_dialogue else None
        self._held: list[bytes] | None = None
        self._held_answers: list[bytes] | None = None
        self._awaited: dict[object, Trap[Any]] = {}
        self._on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MOST_ON_THE_WAY)

    async def serve(self, reader: asyncio.StreamReader, upstream_reader: asyncio.StreamReader) -> None:
        """Pass bytes on until the service has said farewell and the process has all its answers."""
        others = [
            asyncio.create_task(self._watched(self._take_answers(upstream_reader))),
            asyncio.create_task(self._watched(self._send_all(reader))),
        ]
        try:
            await self._watched(self._deliver_all())
            self._down.close()
            await self._down.wait_closed()
        finally:
            for other in others:
                other.cancel()

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        """What breaks here is a fault of our own: it ends the connection, and the link tells."""
        try:
            await work
        except OSError:
            raise
        except Exception as fault:  # noqa: BLE001 - the process must not wait for ever for our mistake
            self._traffic.fault = fault
            self.abort()

    def let_go(self, way: Way) -> None:
        """Send on what is held on this way."""
        if way is Way.THERE:
            self.send_held()
            return
        held, self._held_answers = self._held_answers or [], None
        for data in held:
            _write(self._down, data)

    def send_held(self) -> None:
        """Send on what the process has sent and was held."""
        held, self._held = self._held or [], None
        for data in held:
            _write(self._up, data)

    def abort(self) -> None:
        """End it at once; what is held is lost."""
        self._up.transport.abort()
        self._down.transport.abort()

    async def _send_all(self, reader: asyncio.StreamReader) -> None:
        """From the process to the service. The farewell of a process that is held comes before its bytes."""
        try:
            while data := await reader.read(CHUNK):
                self._send(data)
                await self._up.drain()
        except OSError:
            self._up.transport.abort()
        if self._held is not None:
            self._up.transport.abort()
        elif not self._up.transport.is_closing():
            self._up.write_eof()

    def _send(self, data: bytes) -> None:
        self._count_flights(data)
        for part in self._parts_sent(data):
            for request in part.requests:
                self._traffic.requests.append(request)
                self._fall_into_trap(request)
            if self._held is not None:
                self._held.append(part.data)
            else:
                _write(self._up, part.data)

    def _count_flights(self, data: bytes) -> None:
        traffic = self._traffic
        if self._conversation is not None and self._conversation.sent(data):
            traffic.flights += 1
            if traffic.limit is not None and traffic.flights > traffic.limit and self._held is None:
                self._held = []
                traffic.held.set()

    def _parts_sent(self, data: bytes) -> Iterator[Part[Any]]:
        if self._dialogue is None:
            yield Part(data)
            return
        yield from self._dialogue.sent(data)
        self._traffic.unreadable |= not self._dialogue.readable

    def _parts_answered(self, data: bytes) -> Iterator[Part[Any]]:
        if self._dialogue is None:
            yield Part(data)
            return
        yield from self._dialogue.answered(data)
        self._traffic.unreadable |= not self._dialogue.readable

    def _fall_into_trap(self, request: object) -> None:
        trap = self._traffic.trap_for(request)
        if trap is None:
            return
        if trap.way is Way.BACK:
            self._awaited[request] = trap
        elif self._held is None:
            self._held = []
            trap.holds(self)

    async def _take_answers(self, reader: asyncio.StreamReader) -> None:
        """From the service; the end is an empty answer that is on its way as all others are."""
        loop = asyncio.get_running_loop()
        data = b"more"
        while data:
            try:
                data = await reader.read(CHUNK)
            except OSError:
                data = b""
            await self._on_the_way.put((loop.time() + self._traffic.delay, data))

    async def _deliver_all(self) -> None:
        """To the process, each answer when it is due, none before the one that came before it."""
        loop = asyncio.get_running_loop()
        while True:
            due, data = await self._on_the_way.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if not data:
                return
            self._deliver(data)
            await self._down.drain()

    def _deliver(self, data: bytes) -> None:
        if self._conversation is not None:
            self._conversation.answered(data)
        for part in self._parts_answered(data):
            self._hold_if_awaited(part)
            if self._held_answers is not None:
                self._held_answers.append(part.data)
            else:
                _write(self._down, part.data)

    def _hold_if_awaited(self, part: Part[Any]) -> None:
        if part.about in self._awaited and self._held_answers is None:
            self._held_answers = []
        for request in part.requests:
            trap = self._awaited.pop(request, None)
            if trap is None:
                continue
            if trap.is_sprung:
                self.let_go(Way.BACK)
            else:
                trap.holds(self)


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.transport.is_closing():
        writer.write(data)


async def connect(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to a service."""
    if isinstance(address, UnixAddress):
        return await asyncio.open_unix_connection(address.path, limit=CHUNK)
    return await asyncio.open_connection(address.host, address.port, limit=CHUNK)
