"""Attempts at jobs, as Postgres keeps them: who may begin one, and what came of it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from app.database import Database
from app.jobs import Job

# How long an attempt has until another worker may begin the next: 2 s to send, 2 s for the answer, 2 s to
# book it, should all be slow.
BUSY_S = 6.0

# Only the worker that holds the partition begins anything; it may have lost it without knowing.
BEGIN = """
INSERT INTO job AS known (id, key, status, attempt, busy_until)
SELECT $1, $2, 'running', $3, clock_timestamp() + make_interval(secs => $4)
FROM reading WHERE (consumers, topic, partition, epoch) = ($5, $6, $7, $8)
ON CONFLICT (id) DO UPDATE SET
  status = 'running', attempt = excluded.attempt,
  busy_until = clock_timestamp() + make_interval(secs => $4)
WHERE known.status IN ('queued', 'running') AND NOT known.hopeless
  AND greatest(known.busy_until, known.due_at) <= clock_timestamp()
RETURNING attempts
"""
LOOK = """
SELECT status, hopeless, attempts, error,
  extract(epoch FROM greatest(busy_until, due_at) - clock_timestamp())::float AS closed_s
FROM job WHERE id = $1
"""
SUCCEED = """
UPDATE job SET status = 'succeeded', attempts = $3, attempt = NULL, busy_until = 'epoch'
WHERE id = $1 AND attempt = $2 RETURNING id
"""
FAIL = """
UPDATE job SET attempts = $3, error = $4, hopeless = $5, attempt = NULL, busy_until = 'epoch',
  due_at = clock_timestamp() + make_interval(secs => $6)
WHERE id = $1 AND attempt = $2 RETURNING id
"""
WITHDRAW = "UPDATE job SET attempt = NULL, busy_until = 'epoch' WHERE id = $1 AND attempt = $2"
BURY = "UPDATE job SET status = 'dead' WHERE id = $1 AND hopeless"


@dataclass(frozen=True)
class Holding:
    """A partition that a worker holds, since it raised the epoch to this number."""

    group: str
    topic: str
    partition: int
    epoch: int


@dataclass(frozen=True)
class Begun:
    """An attempt: the first after `earlier` ones."""

    attempt: uuid.UUID
    earlier: int


@dataclass(frozen=True)
class NotBegun:
    """How the job stands instead; `closed_s`: for how long nobody may begin an attempt."""

    has_ended: bool
    hopeless: bool = False
    attempts: int = 0
    error: str = ""
    closed_s: float = 0.0


class Attempts:
    """Every method raises DatabaseUnavailable where Postgres does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, job: Job, *, holding: Holding) -> Begun | NotBegun:
        """Begin an attempt, if the job wants one now and the partition is still held."""
        attempt = uuid.uuid4()
        held = (holding.group, holding.topic, holding.partition, holding.epoch)
        async with self._database.lend() as connection:
            earlier = await connection.fetchval(
                BEGIN, job.id.encode(), job.key.encode(), attempt, BUSY_S, *held
            )
            if earlier is not None:
                return Begun(attempt, earlier)
            row = await connection.fetchrow(LOOK, job.id.encode())
        if row is None:
            return NotBegun(has_ended=False)
        return NotBegun(
            has_ended=row["status"] in ("succeeded", "dead"),
            hopeless=row["hopeless"],
            attempts=row["attempts"],
            error=row["error"] or "",
            closed_s=row["closed_s"],
        )

    async def succeed(self, job: Job, begun: Begun) -> bool:
        """Book a success; False if another attempt has begun meanwhile."""
        async with self._database.lend() as connection:
            booked = await connection.fetchval(SUCCEED, job.id.encode(), begun.attempt, begun.earlier + 1)
        return booked is not None

    async def fail(self, job: Job, begun: Begun, *, error: str, wait_s: float | None) -> bool:
        """Book a failure; False if another attempt has begun meanwhile. `wait_s` None: the last one."""
        values = (begun.earlier + 1, error, wait_s is None, wait_s or 0.0)
        async with self._database.lend() as connection:
            booked = await connection.fetchval(FAIL, job.id.encode(), begun.attempt, *values)
        return booked is not None

    async def withdraw(self, job: Job, begun: Begun) -> None:
        """The attempt has not been made."""
        async with self._database.lend() as connection:
            await connection.execute(WITHDRAW, job.id.encode(), begun.attempt)

    async def bury(self, job: Job) -> None:
        """The dead letter of a hopeless job is written."""
        async with self._database.lend() as connection:
            await connection.execute(BURY, job.id.encode())
