"""Postgres: a pool, a deadline for all that is asked of it, and one exception for "it did not say"."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg  # type: ignore[import-untyped]

logger = logging.getLogger(__name__)

CONNECTIONS = 20
# A POST may take 10 s, some of which are the provider's; a GET 5 s.
DEADLINE_S = 3.0
# The third is what asyncpg says of a connection that was cut while it was lent out.
FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


class DatabaseUnavailable(Exception):
    """Postgres did not do it, or did not say so in time: it may have been done all the same."""


class Database:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def session(self, deadline_s: float = DEADLINE_S) -> AsyncIterator[Any]:
        """A connection, each of whose statements commits itself. Raises DatabaseUnavailable."""
        try:
            async with asyncio.timeout(deadline_s), self._pool.acquire() as connection:
                try:
                    yield connection
                except asyncio.CancelledError:
                    # Out of time: hang up, rather than wait until Postgres has agreed to stop.
                    connection.terminate()
                    raise
        except FAILURES as error:
            logger.warning("Postgres fails: %s %s", type(error).__name__, str(error).partition("\n")[0])
            raise DatabaseUnavailable from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """A connection in a transaction that is committed at the end. Raises DatabaseUnavailable."""
        async with self.session() as connection, connection.transaction():
            yield connection


def connect(url: str) -> asyncpg.Pool:
    """A pool that connects at the first statement. Await it before use."""

    async def leave_as_it_is(_: Any) -> None:
        """A session has no state that a statement of ours could leave behind."""

    return asyncpg.create_pool(url, min_size=0, max_size=CONNECTIONS, reset=leave_as_it_is)
