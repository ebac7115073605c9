"""Clients' keys: rows that whoever works on them locks. A lock ends with its transaction."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

from psycopg.errors import LockNotAvailable

from app.connections import Connection, Connections
from app.turns import OutOfTurn, Turns

# A POST may take 10 s. Whoever has waited this long for another still has time to ask the provider itself.
WAIT_S = 3.5
PROVIDER_UNTIL_S = 7.0
ANSWER_UNTIL_S = 9.0

DECLARE = """
INSERT INTO keys (merchant_id, name, fingerprint, subject) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
LOOK = "SELECT fingerprint, subject, status, answer FROM keys WHERE merchant_id = %s AND name = %s"
LOCK = f"{LOOK} FOR UPDATE"
END = "UPDATE keys SET status = %s, answer = %s WHERE merchant_id = %s AND name = %s"
FREE = "DELETE FROM keys WHERE merchant_id = %s AND name = %s"


class KeyInProgress(Exception):
    """Somebody works on it, for too long to wait."""


class KeyReused(Exception):
    """It was used for something else."""


@dataclass(frozen=True)
class Key:
    """A client's key, and what the request is about that came with it."""

    merchant_id: str
    name: str
    fingerprint: bytes


@dataclass(frozen=True)
class Ended:
    """What a key has ended with; subject: the id of the payment or refund."""

    status: int
    answer: str
    subject: UUID
    replayed: bool = False


class Work:
    """A connection, and the key that is worked on over it. until: when the provider must have answered."""

    def __init__(self, connection: Connection, key: Key, *, began: float) -> None:
        self.connection = connection
        self.key = key
        self.until = began + PROVIDER_UNTIL_S
        self._lock_until = began + WAIT_S

    def declare(self) -> Ended | None:
        """Put the key down, before any work is begun. What it has ended with, if it has."""
        name = (self.key.merchant_id, self.key.name)
        self.connection.execute(DECLARE, (*name, self.key.fingerprint, uuid4()))
        return self._known(LOOK)[1]

    @contextmanager
    def locked(self) -> Iterator[tuple[UUID, Ended | None]]:
        """A transaction in which the key is nobody else's: its subject, and what it has ended with."""
        with self.connection.transaction():
            wait_ms = max(int((self._lock_until - time.monotonic()) * 1000), 1)
            self.connection.execute("SELECT set_config('lock_timeout', %s, true)", (str(wait_ms),))
            try:
                known = self._known(LOCK)
            except LockNotAvailable:
                raise KeyInProgress from None
            yield known

    def end(self, subject: UUID, *, status: int, answer: str) -> Ended:
        """End the key, in the transaction."""
        self.connection.execute(END, (status, answer, self.key.merchant_id, self.key.name))
        return Ended(status, answer, subject)

    def free(self) -> None:
        """Forget the key, in the transaction: nothing was begun."""
        self.connection.execute(FREE, (self.key.merchant_id, self.key.name))

    def _known(self, statement: str) -> tuple[UUID, Ended | None]:
        row = self.connection.execute(statement, (self.key.merchant_id, self.key.name)).fetchone()
        if row is None:
            raise KeyInProgress  # it was freed at this moment
        fingerprint, subject, status, answer = row
        if fingerprint != self.key.fingerprint:
            raise KeyReused
        return subject, None if status is None else Ended(status, answer, subject, replayed=True)


class Desk:
    """Where work on a key begins."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._turns = Turns()

    @contextmanager
    def work(self, key: Key) -> Iterator[Work]:
        """Raises KeyInProgress and KeyReused, and DatabaseUnavailable where Postgres does not answer."""
        began = time.monotonic()
        try:
            with (
                self._turns.turn((key.merchant_id, key.name), until=began + WAIT_S),
                self._connections.lend(until=began + ANSWER_UNTIL_S) as connection,
            ):
                yield Work(connection, key, began=began)
        except OutOfTurn:
            raise KeyInProgress from None
