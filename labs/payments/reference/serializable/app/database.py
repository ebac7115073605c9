"""Decisions in Postgres: each as if nobody else were there, begun again when somebody was."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID

from pg8000.exceptions import DatabaseError, Error  # type: ignore[import-untyped]

from app.connections import Connections, Line

logger = logging.getLogger(__name__)

T = TypeVar("T")
# Few: statements are short, what does not run at the same time does not collide, and to connect is dear.
CONNECTIONS = 5
TURNS = 64
# SQLSTATEs: serialization failure, deadlock, and a row that somebody else inserted first.
COLLIDED = ("40001", "40P01", "23505")
PAUSE_S, MOST_PAUSE_S = 0.02, 0.2
BROKEN_LINES = 2


class DatabaseUnavailable(Exception):
    """Postgres did not do it, or did not say so in time: it may have been done all the same."""


class Database:
    """`until` is by time.monotonic. Every method raises DatabaseUnavailable."""

    def __init__(self, url: str) -> None:
        self._connections = Connections(url, size=CONNECTIONS)
        self._turns = [threading.Lock() for _ in range(TURNS)]

    def run(self, statement: str, *, until: float, **values: object) -> list[list[Any]]:
        """The rows of one statement, which commits itself. It may run twice, as in `decide`."""
        return self._again(lambda line: line.run(statement, **values), until)

    def decide(self, work: Callable[[Line], T], *, about: UUID, until: float) -> T:
        """What `work` returns, committed. It reads what it goes by and writes what comes of it.

        `about` names the payment: what one process decides about it takes turns, which only saves tries.

        It may run several times, also after a COMMIT of which nobody knows whether it was done, so
        it must notice what it has done before. It must raise nothing of its own.
        """
        turn = self._turns[hash(about) % TURNS]
        if not turn.acquire(timeout=max(until - time.monotonic(), 0)):
            raise DatabaseUnavailable
        try:
            return self._again(lambda line: _serializable(line, work), until)
        finally:
            turn.release()

    def _again(self, ask: Callable[[Line], T], until: float) -> T:
        broken, pause_s = 0, PAUSE_S
        while True:
            try:
                with self._connections.lend(until=until) as line:
                    return ask(line)
            except DatabaseError as error:
                if _code(error) not in COLLIDED or time.monotonic() > until:
                    raise _unavailable(error) from error
                time.sleep(random.uniform(0, pause_s))  # noqa: S311
                pause_s = min(2 * pause_s, MOST_PAUSE_S)
            except (Error, OSError) as error:
                broken += 1
                if broken > BROKEN_LINES or time.monotonic() > until:
                    raise _unavailable(error) from error
                time.sleep(PAUSE_S)


def _serializable(line: Line, work: Callable[[Line], T]) -> T:
    line.say("BEGIN ISOLATION LEVEL SERIALIZABLE")
    try:
        value = work(line)
        line.say("COMMIT")
    except DatabaseError:
        line.say("ROLLBACK")
        raise
    return value


def _code(error: DatabaseError) -> str:
    with suppress(TypeError, LookupError):
        return str(error.args[0]["C"])
    return ""


def _unavailable(error: Exception) -> DatabaseUnavailable:
    logger.warning("Postgres fails: %s %s", type(error).__name__, error)
    return DatabaseUnavailable()
