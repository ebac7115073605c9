"""Connections to Postgres: kept, and hung up on when their time is over."""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

logger = logging.getLogger(__name__)

Connection = psycopg.Connection[tuple[Any, ...]]

SCHEMA = Path(__file__).with_name("schema.sql")
# IF NOT EXISTS does not hold between two that look at the same time.
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('payments: schema'))"
LOOK_EVERY_S = 0.1


class DatabaseUnavailable(Exception):
    """Postgres did not do it, or did not say so in time: it may have been done all the same."""


class Connections:
    """At most `size`, opened by whoever needs one; safe to use from many threads.

    idle_s  how long a transaction may pause before Postgres ends it: whoever froze or was cut off
            without a farewell lets go of its locks then
    """

    def __init__(self, url: str, *, size: int, idle_s: float) -> None:
        self._url = url
        self._options = f"-c idle_in_transaction_session_timeout={int(idle_s * 1000)}"
        self._turns = threading.Semaphore(size)
        self._idle: list[Connection] = []  # append and pop are atomic
        self._lent: dict[Connection, float] = {}
        self._preparing = threading.Lock()
        self._prepared = False
        threading.Thread(target=self._watch, name="deadlines", daemon=True).start()

    @contextmanager
    def lend(self, *, until: float) -> Iterator[Connection]:
        """A connection for the block, where each statement commits itself unless told otherwise.

        `until`: by time.monotonic; then the conversation breaks off. Raises DatabaseUnavailable.
        """
        if not self._turns.acquire(timeout=max(until - time.monotonic(), 0)):
            raise DatabaseUnavailable("no connection became free")
        try:
            connection = self._take()
            try:
                self._lent[connection] = until
                self._prepare(connection)
                yield connection
            finally:
                self._give_back(connection)
        except (psycopg.Error, OSError) as error:
            logger.warning("Postgres fails: %s %s", type(error).__name__, str(error).partition("\n")[0])
            raise DatabaseUnavailable from error
        finally:
            self._turns.release()

    def _take(self) -> Connection:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            if _is_alive(connection):
                return connection
            connection.close()
        return psycopg.connect(self._url, autocommit=True, connect_timeout=2, options=self._options)

    def _prepare(self, connection: Connection) -> None:
        """Make the tables, unless this process has made sure of them."""
        if self._prepared:
            return
        with self._preparing:
            if not self._prepared:
                with connection.transaction():
                    connection.execute(ONE_AT_A_TIME)
                    connection.execute(SCHEMA.read_bytes())
                self._prepared = True

    def _give_back(self, connection: Connection) -> None:
        self._lent.pop(connection, None)
        if connection.info.transaction_status == TransactionStatus.IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def _watch(self) -> None:
        """End conversations whose time is over: libpq itself waits for an answer for ever."""
        while True:
            time.sleep(LOOK_EVERY_S)
            for connection, until in list(self._lent.items()):
                if time.monotonic() > until and self._lent.pop(connection, None) is not None:
                    _hang_up(connection)


def _is_alive(connection: Connection) -> bool:
    """Postgres says nothing on an idle connection but farewell."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)


def _hang_up(connection: Connection) -> None:
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)
    except (psycopg.Error, OSError):
        return  # it is closed already
