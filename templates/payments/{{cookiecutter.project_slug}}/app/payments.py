"""The table of payments. So far it is only read: nothing writes a payment yet."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

MAX_CONNECTIONS = 16
# A client gets an answer within 5 s, even if Postgres gives none.
ANSWER_WITHIN_S = 4

_FIND = """
    SELECT id, order_id, amount_cents, currency, status, charge_id, refunded_cents
    FROM payments WHERE merchant_id = $1 AND id = $2"""

_NO_ANSWER = (
    OSError,  # no connection, or none in time
    asyncpg.InterfaceError,  # the connection ended under us
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # starting up, shutting down
    asyncpg.InsufficientResourcesError,
)


class Unavailable(Exception):
    """Postgres did not answer. Of a write nobody can say whether it was done."""


class Payments:
    """Rows of the table. All methods raise Unavailable."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def find(self, merchant: str, payment_id: str) -> dict[str, Any] | None:
        """One payment as the API shows it; None if this merchant has none of that id."""
        rows = await self._run(_FIND, merchant, payment_id)
        return dict(rows[0]) if rows else None

    async def _run(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """One statement, a transaction of its own: committed when its answer is here."""
        latest = time.monotonic() + ANSWER_WITHIN_S
        try:
            async with self._pool.acquire(timeout=ANSWER_WITHIN_S) as connection:
                try:
                    return await connection.fetch(statement, *arguments, timeout=latest - time.monotonic())
                except TimeoutError:
                    # The pool would wait for the answer before it takes the connection back.
                    connection.terminate()
                    raise
        except _NO_ANSWER as error:
            raise Unavailable(f"{type(error).__name__}: {error}") from error


@asynccontextmanager
async def open_payments(database_url: str) -> AsyncIterator[Payments]:
    """The table at `database_url`. Nothing is connected before it is needed, so Postgres may be down."""
    pool = await asyncpg.create_pool(
        database_url, min_size=0, max_size=MAX_CONNECTIONS, timeout=ANSWER_WITHIN_S
    )
    try:
        yield Payments(pool)
    finally:
        # By now all requests are answered; a Postgres that hangs is no reason to wait.
        pool.terminate()
