"""The table `deliverable`: how each job stands, and whose turn it is to deliver it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]

from app.jobs import Job

T = TypeVar("T")
DEADLINE_S = 2.5
FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
# A permission holds for 2 s to begin a delivery, 2 s for the answer and 2 s to book it, should all be slow.
# Then somebody else may get one.
PERMISSION_S = 6.0

ENQUEUE = "INSERT INTO deliverable (id, key) VALUES ($1, $2) ON CONFLICT DO NOTHING"
FIND = "SELECT key, state, attempts, error FROM deliverable WHERE id = $1"
PERMIT = """
INSERT INTO deliverable AS job (id, key, state, fence, closed_until)
VALUES ($1, $2, 'running', 1, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (id) DO UPDATE SET
  state = 'running', fence = job.fence + 1, closed_until = clock_timestamp() + make_interval(secs => $3)
WHERE job.state IN ('queued', 'running') AND job.closed_until <= clock_timestamp()
RETURNING attempts, fence
"""
LOOK = """
SELECT state, attempts, error, extract(epoch FROM closed_until - clock_timestamp())::float AS closed_s
FROM deliverable WHERE id = $1
"""
BOOK = """
UPDATE deliverable SET state = $3, attempts = $4, error = $5,
  closed_until = clock_timestamp() + make_interval(secs => $6)
WHERE id = $1 AND fence = $2 AND state = 'running'
RETURNING id
"""
BURY = "UPDATE deliverable SET state = 'dead' WHERE id = $1 AND state = 'doomed'"


class TableUnavailable(Exception):
    """Postgres did not do it, or did not say so in time: it may have been done all the same."""


@dataclass(frozen=True)
class Standing:
    """error: why the job is dead, and None unless it is."""

    key: str
    status: str
    attempts: int
    error: str | None


@dataclass(frozen=True)
class Permission:
    """To deliver a job now, for the first time since `attempts` were booked."""

    attempts: int
    fence: int


@dataclass(frozen=True)
class Refusal:
    """state: what the job is in; closed_s: for how long nobody else can get permission."""

    state: str
    attempts: int
    error: str | None
    closed_s: float


@dataclass(frozen=True)
class Booking:
    """What an attempt has led to: "succeeded", "doomed", or "running" with a wait before the next."""

    state: str
    attempts: int
    error: str | None = None
    wait_s: float = 0.0


def connect(url: str, *, size: int) -> asyncpg.Pool:
    """A pool that connects at the first statement. Await it before use."""

    async def leave_as_it_is(_: Any) -> None:
        """A session has no state that a statement of ours could leave behind."""

    return asyncpg.create_pool(url, min_size=0, max_size=size, reset=leave_as_it_is)


class Table:
    """Every method raises TableUnavailable where Postgres does not answer within the deadline."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def enqueue(self, job: Job) -> None:
        """Make a new job known."""
        await self._ask(lambda it: it.execute(ENQUEUE, job.id.encode(), job.key.encode()))

    async def find(self, job_id: str) -> Standing | None:
        """How a job stands, or None if there is none."""
        row = await self._ask(lambda it: it.fetchrow(FIND, job_id.encode(errors="replace")))
        if row is None:
            return None
        status = "running" if row["state"] == "doomed" else row["state"]
        error = row["error"] if status == "dead" else None
        return Standing(row["key"].decode(), status, row["attempts"], error)

    async def permit(self, job: Job) -> Permission | Refusal:
        """Permission to deliver the job once, or how it stands."""
        job_id, key = job.id.encode(), job.key.encode()
        if row := await self._ask(lambda it: it.fetchrow(PERMIT, job_id, key, PERMISSION_S)):
            return Permission(**row)
        return Refusal(**await self._ask(lambda it: it.fetchrow(LOOK, job_id)))

    async def book(self, job: Job, *, fence: int, booking: Booking) -> bool:
        """Write down what came of a delivery; False if the permission is not the last one any more."""
        values = (booking.state, booking.attempts, booking.error, booking.wait_s)
        booked = await self._ask(lambda it: it.fetchval(BOOK, job.id.encode(), fence, *values))
        return booked is not None

    async def bury(self, job: Job) -> None:
        """The dead letter of a doomed job is written."""
        await self._ask(lambda it: it.execute(BURY, job.id.encode()))

    async def _ask(self, statement: Callable[[Any], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(DEADLINE_S), self._pool.acquire() as connection:
                try:
                    return await statement(connection)
                except (asyncio.CancelledError, asyncpg.InternalClientError):
                    # Out of time: hang up, rather than wait until Postgres has agreed to stop. Or the client
                    # is at odds with itself: it may take a connection that was cut for one that still works.
                    connection.terminate()
                    raise
        except FAILURES as error:
            raise TableUnavailable(f"{type(error).__name__}: {error}") from error


def migrate() -> None:
    """Create the table, however many do so at once."""
    asyncio.run(_migrate(Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")))


async def _migrate(schema: str) -> None:
    connection = await asyncpg.connect(os.environ["DATABASE_URL"], timeout=10)
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(711)")
            await connection.execute(schema)
    finally:
        await connection.close()
