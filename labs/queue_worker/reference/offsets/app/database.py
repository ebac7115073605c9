"""Postgres: connections, and one exception for "it cannot be asked"."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]

DEADLINE_S = 2.5
FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


class DatabaseUnavailable(Exception):
    """Postgres did not do it, or did not say so in time: it may have been done all the same."""


class Database:
    """Lends connections; make one with `connect`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def lend(self, within_s: float = DEADLINE_S) -> AsyncIterator[Any]:
        """A connection for the block, which has that long. Raises DatabaseUnavailable."""
        try:
            async with asyncio.timeout(within_s), self._pool.acquire() as connection:
                try:
                    yield connection
                except (asyncio.CancelledError, asyncpg.InternalClientError):
                    # Out of time: hang up, rather than wait until Postgres has agreed to stop. Or the client
                    # is at odds with itself: it may take a connection that was cut for one that still works.
                    connection.terminate()
                    raise
        except FAILURES as error:
            raise DatabaseUnavailable(f"{type(error).__name__}: {error}") from error


@asynccontextmanager
async def connect(url: str, *, size: int) -> AsyncIterator[Database]:
    """A database that is connected to at the first statement."""

    async def leave_as_it_is(_: Any) -> None:
        """A session has no state that a statement of ours could leave behind."""

    async with asyncpg.create_pool(url, min_size=0, max_size=size, reset=leave_as_it_is) as pool:
        yield Database(pool)


def migrate() -> None:
    """Create the tables, however many do so at once."""
    asyncio.run(_migrate(Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")))


async def _migrate(schema: str) -> None:
    connection = await asyncpg.connect(os.environ["DATABASE_URL"], timeout=10)
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(5150)")
            await connection.execute(schema)
    finally:
        await connection.close()
