"""Catches a request on its way to a service, or its answer on the way back, and holds it there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Generic

from labkit.dialogue import Sent
from labkit.loop import Loop

if TYPE_CHECKING:
    from labkit.relay import Connection


class Way(Enum):
    """Where a trap stands."""

    THERE = "what the process sends is held, from the request on"
    BACK = "the request reaches the server, and its answer is held"


class Trap(Generic[Sent]):
    """Holds each connection from the first request on that `matches`, at most `most` of them.

    A request is a Statement to Postgres or a Message to Kafka.

    caught  set when the first is held: on the way THERE the server has not got the request; on the
            way BACK it has carried it out, and its answer has come as far as the link
    count   how many requests have matched: more than `most` pass
    """

    def __init__(self, loop: Loop, matches: Callable[[Sent], bool], *, way: Way, most: int) -> None:
        self.way = way
        self.caught = threading.Event()
        self.count = 0
        self._loop = loop
        self._matches = matches
        self._most = most
        self._connections: list[Connection] = []
        self._sprung = False

    def release(self) -> None:
        """Let everything go on, and catch no more."""
        self._loop.call(self._release)

    def cut(self) -> None:
        """End the connections that are held: what is held never arrives. Catch no more."""
        self._loop.call(self._cut)

    # The rest is called by connections, on the loop's thread.

    def takes(self, request: Sent) -> bool:
        """Whether the request is to be held."""
        if self._sprung or not self._matches(request):
            return False
        self.count += 1
        return self.count <= self._most

    def holds(self, connection: Connection) -> None:
        """Be told that a request, or its answer, lies at the link now."""
        self._connections.append(connection)
        self.caught.set()

    @property
    def is_sprung(self) -> bool:
        return self._sprung

    def _release(self) -> None:
        self._sprung = True
        for connection in self._connections:
            connection.let_go(self.way)

    def _cut(self) -> None:
        self._sprung = True
        for connection in self._connections:
            connection.abort()
