"""Connections to Postgres: few, kept, and given up when their time is over."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from pg8000.exceptions import DatabaseError, Error, InterfaceError  # type: ignore[import-untyped]
from pg8000.native import Connection  # type: ignore[import-untyped]


@dataclass(frozen=True)
class Line:
    """A session, the socket that it runs over, and the statements that it has prepared."""

    socket: socket.socket
    session: Any
    prepared: dict[str, Any] = field(default_factory=dict)

    def run(self, statement: str, **values: object) -> list[list[Any]]:
        """Its rows. One round trip; another for the first time that the session meets it."""
        if statement not in self.prepared:
            self.prepared[statement] = self.session.prepare(statement)
        rows: list[list[Any]] = self.prepared[statement].run(**values)
        return rows

    @property
    def is_alive(self) -> bool:
        """Postgres says nothing on an idle connection but farewell."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return not poll.poll(0)

    def hang_up(self) -> None:
        with suppress(Error, OSError):
            self.session.close()
        self.socket.close()


class Connections:
    """At most `size`, opened by whoever needs one; safe to use from many threads."""

    def __init__(self, url: str, *, size: int) -> None:
        self._url = urlsplit(url)
        self._turns = threading.Semaphore(size)
        self._idle: list[Line] = []  # append and pop are atomic

    @contextmanager
    def lend(self, deadline_s: float) -> Iterator[Line]:
        """A line for the block. One on which the conversation broke off is not used again.

        Raises what pg8000 and sockets raise; a wait longer than the deadline is an OSError too.
        """
        ends_at = time.monotonic() + deadline_s
        if not self._turns.acquire(timeout=deadline_s):
            raise TimeoutError("no connection became free")
        try:
            line = self._take(ends_at)
            try:
                line.socket.settimeout(_left(ends_at))
                yield line
            except DatabaseError:  # refused in due form: the session goes on
                self._idle.append(line)
                raise
            except BaseException:
                line.hang_up()
                raise
            self._idle.append(line)
        finally:
            self._turns.release()

    def _take(self, ends_at: float) -> Line:
        while True:
            try:
                line = self._idle.pop()
            except IndexError:
                return self._connect(ends_at)
            if line.is_alive:
                return line
            line.hang_up()

    def _connect(self, ends_at: float) -> Line:
        url = self._url
        line = socket.create_connection((url.hostname, url.port or 5432), _left(ends_at))
        try:
            session = Connection(
                unquote(url.username or ""),
                password=unquote(url.password or ""),
                database=unquote(url.path.lstrip("/")),
                sock=line,
            )
        except IndexError as error:  # how pg8000 says that the other end has hung up
            line.close()
            raise InterfaceError("hung up while connecting") from error
        except BaseException:
            line.close()
            raise
        return Line(line, session)


def _left(ends_at: float) -> float:
    """Seconds until then, and a moment where that has passed: zero would mean no waiting at all."""
    return max(ends_at - time.monotonic(), 0.01)
