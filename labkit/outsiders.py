"""The outside parties that a grader plays: whatever a lab's service calls over HTTP.

Every process reaches an outside party at an address of its own, so that it is known who called. The
party itself is the lab's: an object that answers one call after another, by whatever script.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from labkit.loop import Loop
from labkit.ports import LOOPBACK, bound_socket, free_port, own_socket

NewSocket = Callable[[], socket.socket]
LARGEST_BODY = 1 << 22
_BACKLOG = 1024
# What answers still wait for, nobody will hear. (0 would be taken for "as long as they like".)
_FAREWELL_S = 0.001


@dataclass(frozen=True)
class Call:
    """An HTTP request that a process of the submission sent.

    at       seconds on the grading's clock, when all of its body had come
    headers  by lower-case name
    gone     tells whether the caller has left meanwhile: it hears no answer
    """

    at: float
    process: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    gone: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Reply:
    """What an outside party answers."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"


class Outsider(Protocol):
    """An outside party. A lab makes one with its `Setup.outsiders`."""

    async def answer(self, call: Call) -> Reply | None:
        """Answer a call, on the kit's loop; None cuts the connection without an answer."""


class Gate:
    """Where an answer waits until a check lets it, and all that come later, go on.

    reached  set when the first waits
    """

    def __init__(self, loop: Loop) -> None:
        self.reached = threading.Event()
        self._loop = loop
        self._opened = asyncio.Event()

    async def passed(self) -> None:
        """Wait until it is open."""
        self.reached.set()
        await self._opened.wait()

    def open(self) -> None:
        """Let everybody through from now on; callable from any thread but the loop's."""
        self._loop.call(self._opened.set)


class Entrance:
    """Where one process finds an outside party: `address`, host:port, on a socket of `new_socket`.

    All methods may be called from any thread but the loop's.
    """

    def __init__(
        self,
        loop: Loop,
        outsider: Outsider,
        *,
        process: str,
        clock: Callable[[], float],
        new_socket: NewSocket = own_socket,
    ) -> None:
        self.process = process
        self.fault: Exception | None = None
        self._loop = loop
        self._outsider = outsider
        self._clock = clock
        self._new_socket = new_socket
        self._lease = free_port()
        self._socket = bound_socket(new_socket(), self._lease.port)
        self._listening: asyncio.Server | None = None
        self._http: web.Server | None = None

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self._lease.port}"

    def open(self) -> None:
        """Take calls."""
        self._loop.run(self._open())

    def refuse(self) -> None:
        """Cut all connections and refuse new ones, as the system of a stopped server does."""
        if self._listening is not None:
            self._loop.run(self._shut())
            # Bound and silent, so that nobody else can take the port before `open`.
            self._socket = bound_socket(self._new_socket(), self._lease.port)

    def close(self) -> None:
        """Cut everything and give the port back."""
        self._loop.run(self._shut())
        self._socket.close()
        self._lease.release()

    async def _open(self) -> None:
        self._http = web.Server(self._answer, access_log=None)
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._http, sock=self._socket, backlog=_BACKLOG)

    async def _shut(self) -> None:
        if self._listening is None or self._http is None:
            return
        self._listening.close()
        await self._http.shutdown(_FAREWELL_S)
        self._listening = None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._ask_for_body(request)
        body = bytearray()
        async for part in request.content.iter_any():
            body += part
            if len(body) > LARGEST_BODY:
                return web.Response(status=413)
        call = Call(
            at=self._clock(),
            process=self.process,
            method=request.method,
            path=request.path_qs,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=bytes(body),
            gone=lambda: request.transport is None or request.transport.is_closing(),
        )
        reply = await self._reply(call)
        if reply is not None:
            return web.Response(status=reply.status, body=reply.body, content_type=reply.content_type)
        with suppress(AttributeError):  # the caller has left already
            request.transport.abort()  # type: ignore[union-attr]
        return web.Response()

    def _ask_for_body(self, request: web.BaseRequest) -> None:
        """Some callers send none before they are told to go on: curl, or clients of Java and .NET."""
        expected = request.headers.get("Expect", "").lower()
        if expected == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _reply(self, call: Call) -> Reply | None:
        try:
            return await self._outsider.answer(call)
        except Exception as error:  # noqa: BLE001 - the lab's own mistake, never the submission's
            self.fault = error
            return None
