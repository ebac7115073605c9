"""The grader's HTTP client: it records every exchange with the interval in which it was decided.

Each request goes out once, on a connection of its own, so that no stale connection can blur what
happened, and has one deadline for the whole exchange, however slowly its bytes drip in.
"""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import aiohttp
import yarl

from labkit.loop import Loop
from labkit.pulse import Pulse

DEADLINE_S = 5.0
LONGEST_ANSWER = 1 << 20
# Whoever waits for another service waits at least this long before giving it up, and may hold on to
# what it has learnt, such as that the other is down, for as long as the second.
PATIENCE_S = 0.15
RECOVERY_S = 5.0
REFUSED = "connection refused"
# A machine so slow that this is not enough gives no verdict at all.
_LONGEST_GRACE_S = 5.0


class Done(StrEnum):
    """Whether a request was carried out: a cut connection leaves that open."""

    YES = "answered"
    NO = "not done"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Request:
    """What to ask of which process. `path` goes out exactly as it is.

    deadline_s  seconds within which the whole answer has to be there
    """

    process: str
    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    deadline_s: float = DEADLINE_S


@dataclass(frozen=True)
class Exchange:
    """A request and what came of it.

    sent, received  seconds on the run's clock; the request was decided between them
    late_s          seconds by which the machine itself was late in that time
    starved         it took long, and the machine had no processor to spare meanwhile: a service that
                    waits for another one for some time only may rightly have given it up
    starved_s       seconds of it without a processor to spare, where it was starved
    status          None where no HTTP answer came; then `failure` says what happened, in words
    """

    request: Request
    sent: float
    received: float
    late_s: float
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    failure: str | None = None
    done: Done = Done.YES
    starved: bool = False
    starved_s: float = 0.0

    @property
    def took_s(self) -> float:
        """Seconds that the exchange took, less those that the machine was late."""
        return max(self.received - self.sent - self.late_s, 0.0)

    @property
    def surely_took_s(self) -> float:
        """Seconds that no want of processors explains."""
        return max(self.took_s - self.starved_s, 0.0)

    def json(self) -> Any:
        """The body as JSON, or None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Client:
    """Sends requests to processes.

    address_of  process -> its current host:port
    socket_of   process -> a new TCP socket that reaches it
    """

    def __init__(
        self,
        loop: Loop,
        pulse: Pulse,
        *,
        clock: Callable[[], float],
        address_of: Callable[[str], str],
        socket_of: Callable[[str], socket.socket],
    ) -> None:
        self._loop = loop
        self._pulse = pulse
        self._clock = clock
        self._address_of = address_of
        self._starved: list[tuple[str, float, float]] = []
        self._socket_of = socket_of
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    @classmethod
    @contextmanager
    def open(
        cls,
        loop: Loop,
        pulse: Pulse,
        *,
        clock: Callable[[], float],
        address_of: Callable[[str], str],
        socket_of: Callable[[str], socket.socket],
    ) -> Iterator[Client]:
        client = cls(loop, pulse, clock=clock, address_of=address_of, socket_of=socket_of)
        try:
            yield client
        finally:
            loop.run(client._close())

    def starved_lately(self, exchange: Exchange) -> bool:
        """Whether the process that answered was starved, in this or another exchange, up to 5 s before."""
        return any(
            process == exchange.request.process
            and sent <= exchange.received
            and received >= exchange.sent - RECOVERY_S
            for process, sent, received in list(self._starved)
        )

    def less_hold(self, exchange: Exchange, begin: float, end: float) -> Exchange:
        """The exchange, starved only if it was before `begin` or after `end`.

        Between them the grader held it at Postgres: that takes as long on any machine, and no process
        gives up another service for it.
        """
        parts = ((exchange.sent, begin), (end, exchange.received))
        if not exchange.starved or any(self._starves(*part) for part in parts):
            return exchange
        with suppress(ValueError):  # it was said before
            self._starved.remove((exchange.request.process, exchange.sent, exchange.received))
        return replace(exchange, starved=False, starved_s=0.0)

    def _starves(self, sent: float, received: float) -> bool:
        return received - sent > PATIENCE_S and self._pulse.starved_between(sent, received)

    def send(self, request: Request, *, deadline_s: float | None = None) -> Exchange:
        """One request, answered or given up at the deadline: the request's own, unless another is given."""
        return self._loop.run(self._exchange(request, deadline_s))

    def begin(self, request: Request) -> Future[Exchange]:
        """One request, without waiting for what comes of it."""
        return self._loop.begin(self._exchange(request))

    def burst(self, requests: Sequence[Request]) -> list[Exchange]:
        """All requests at once; exchanges in the order of the requests."""
        return self._loop.run(self._all(requests))

    def paced(self, requests: Sequence[Request], *, every: float) -> list[Exchange]:
        """One request every `every` seconds, whether or not the ones before are answered."""
        return self._loop.run(self._spaced(requests, every))

    async def _all(self, requests: Sequence[Request]) -> list[Exchange]:
        return list(await asyncio.gather(*(self._exchange(request) for request in requests)))

    async def _spaced(self, requests: Sequence[Request], every: float) -> list[Exchange]:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        tasks = []
        for count, request in enumerate(requests):
            await asyncio.sleep(begin + count * every - loop.time())
            tasks.append(asyncio.create_task(self._exchange(request)))
        return list(await asyncio.gather(*tasks))

    async def _exchange(self, request: Request, deadline_s: float | None = None) -> Exchange:
        deadline_s = request.deadline_s if deadline_s is None else deadline_s
        sent = self._clock()
        task = asyncio.create_task(self._ask(request))
        try:
            await self._within_deadline(task, deadline_s)
        except TimeoutError:
            return self._record(request, sent, failure=f"no answer within {deadline_s:.3g} s")
        error = task.exception()
        if error is not None:
            words, done = _what_failed(error)
            return self._record(request, sent, failure=words, done=done)
        return self._record(request, sent, **task.result())

    async def _within_deadline(self, task: asyncio.Task[dict[str, Any]], deadline_s: float) -> None:
        """Wait for the deadline, and for as long again as the machine was late meanwhile."""
        begin = self._clock()
        await asyncio.wait([task], timeout=deadline_s)
        if not task.done():
            late = self._pulse.late_between(begin, self._clock())
            await asyncio.wait([task], timeout=min(2 * late, _LONGEST_GRACE_S))
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise TimeoutError

    async def _ask(self, request: Request) -> dict[str, Any]:
        url = yarl.URL(f"http://{self._address_of(request.process)}{request.path}", encoded=True)
        async with self._session(request.process).request(
            request.method, url, headers=request.headers, data=request.body, allow_redirects=False
        ) as response:
            received = self._clock()
            body = await _read(response)
            headers = {name.lower(): value for name, value in response.headers.items()}
            return {"status": response.status, "headers": headers, "body": body, "received": received}

    def _session(self, process: str) -> aiohttp.ClientSession:
        """The session of one process, made by the first request: each may be on a network of its own."""
        if process not in self._sessions:
            self._sessions[process] = _new_session(lambda _: self._socket_of(process))
        return self._sessions[process]

    async def _close(self) -> None:
        for session in self._sessions.values():
            await session.close()

    def _record(
        self,
        request: Request,
        sent: float,
        *,
        received: float | None = None,
        failure: str | None = None,
        done: Done | None = None,
        **answer: Any,
    ) -> Exchange:
        received = self._clock() if received is None else received
        late = self._pulse.late_between(sent, received)
        done = done or (Done.UNKNOWN if failure else Done.YES)
        starved = self._starves(sent, received)
        if starved:
            self._starved.append((request.process, sent, received))
        starved_s = self._pulse.starved_for(sent, received) if starved else 0.0
        return Exchange(
            request,
            sent,
            received,
            late,
            failure=failure,
            done=done,
            starved=starved,
            starved_s=starved_s,
            **answer,
        )


def _new_session(new_socket: Callable[[Any], socket.socket]) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True, socket_factory=new_socket),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None, sock_read=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=True,
        headers={"User-Agent": "labkit", "Accept": "application/json, application/problem+json, */*;q=0.5"},
        middlewares=[_sent_once],
    )


class _CutOff(Exception):
    """The connection ended before an answer."""


async def _sent_once(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """aiohttp sends a GET, PUT or DELETE once more, unseen, after the two errors that are caught last."""
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _CutOff from error


class _AnswerTooLong(Exception):
    """More than LONGEST_ANSWER bytes."""


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > LONGEST_ANSWER:
            raise _AnswerTooLong
    return bytes(body)


def _what_failed(error: BaseException) -> tuple[str, Done]:
    """An exception of the exchange in the words of the report."""
    if isinstance(error, _AnswerTooLong):
        return f"an answer longer than {LONGEST_ANSWER >> 20} MiB", Done.YES
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno == errno.ECONNREFUSED:
        return REFUSED, Done.NO
    if isinstance(error, aiohttp.ClientResponseError | ValueError):
        return "an answer that is not HTTP", Done.UNKNOWN
    if isinstance(error, aiohttp.ClientPayloadError):
        return "an answer that broke off", Done.UNKNOWN
    if isinstance(error, _CutOff | aiohttp.ClientError | OSError):
        return "connection closed without an answer", Done.UNKNOWN
    raise error
