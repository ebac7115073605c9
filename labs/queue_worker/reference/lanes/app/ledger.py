"""The table `worker_jobs`: how each job stands, and who may deliver it just now.

A claim is a lease with a token. It is what keeps a job from being delivered twice at a time: by two
records of the same id, by the worker that lost a partition and the one that got it, by one that was
frozen and wakes up. Whoever books an outcome shows the token; a claim that was lost books nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from pg8000.exceptions import Error  # type: ignore[import-untyped]

from app.connections import Connections, Line
from app.jobs import Job

DEADLINE_S = 2.5
# Two seconds to begin a delivery, two for the sink's answer, two to book it, should all be slow. Others
# wait that long for a worker that died.
LEASE_S = 6.0

# Ids and keys are bytes: Postgres' text has no U+0000, JSON's strings do.
SCHEMA = """
CREATE TABLE IF NOT EXISTS worker_jobs (
  id            bytea PRIMARY KEY,
  key           bytea NOT NULL,
  status        text NOT NULL DEFAULT 'queued',
  attempts      integer NOT NULL DEFAULT 0,
  error         text,
  doomed        boolean NOT NULL DEFAULT false,
  due_at        timestamptz NOT NULL DEFAULT 'epoch',
  claim         uuid,
  claimed_until timestamptz NOT NULL DEFAULT 'epoch'
)
"""
ENQUEUE = "INSERT INTO worker_jobs (id, key) VALUES (:id, :key)"
FIND = "SELECT key, status, attempts, error FROM worker_jobs WHERE id = :id"
CLAIM = """
INSERT INTO worker_jobs AS job (id, key, status, claim, claimed_until)
VALUES (:id, :key, 'running', CAST(:claim AS uuid), clock_timestamp() + CAST(:lease AS interval))
ON CONFLICT (id) DO UPDATE SET
  status = 'running', claim = excluded.claim, claimed_until = clock_timestamp() + CAST(:lease AS interval)
WHERE job.status IN ('queued', 'running') AND NOT job.doomed
  AND job.due_at <= clock_timestamp()
  AND (job.claimed_until <= clock_timestamp() OR job.claim = excluded.claim)
RETURNING attempts
"""
WHY_NOT = """
SELECT status, doomed, attempts, error,
  CAST(extract(epoch FROM greatest(due_at, claimed_until) - clock_timestamp()) AS float)
FROM worker_jobs WHERE id = :id
"""
SUCCEED = """
UPDATE worker_jobs SET status = 'succeeded', attempts = :attempt, claim = NULL, claimed_until = 'epoch'
WHERE id = :id AND claim = CAST(:claim AS uuid) RETURNING id
"""
FAIL = """
UPDATE worker_jobs SET attempts = :attempt, error = :error, doomed = :doomed, claim = NULL,
  claimed_until = 'epoch', due_at = clock_timestamp() + CAST(:wait AS interval)
WHERE id = :id AND claim = CAST(:claim AS uuid) RETURNING id
"""
BURY = "UPDATE worker_jobs SET status = 'dead' WHERE id = :id AND doomed"


class LedgerUnavailable(Exception):
    """Postgres did not do it, or did not say so in time: it may have been done all the same."""


@dataclass(frozen=True)
class Standing:
    """error: why the job is dead, and None unless it is."""

    key: str
    status: str
    attempts: int
    error: str | None


@dataclass(frozen=True)
class Claimed:
    """The job may be delivered now; `attempts` were booked before."""

    attempts: int


@dataclass(frozen=True)
class Denied:
    """Why the job may not be delivered now.

    because  "ended", or "doomed": all that is left is its dead letter, or "busy": somebody has claimed
             it, or its next attempt is not due
    """

    because: Literal["ended", "doomed", "busy"]
    again_s: float = 0.0
    attempts: int = 0
    error: str = ""


class Ledger:
    """Every method raises LedgerUnavailable where Postgres does not answer within the deadline."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def enqueue(self, job: Job) -> None:
        """Make a new job known."""
        with self._line() as line:
            line.run(ENQUEUE, id=job.id.encode(), key=job.key.encode())

    def find(self, job_id: str) -> Standing | None:
        """How a job stands, or None if there is none."""
        with self._line() as line:
            rows = line.run(FIND, id=job_id.encode(errors="replace"))
        if not rows:
            return None
        key, status, attempts, error = rows[0]
        return Standing(key.decode(), status, attempts, error if status == "dead" else None)

    def claim(self, job: Job, *, claim: str) -> Claimed | Denied:
        """Take the job for one attempt, unless it has ended, has to wait, or is under another claim."""
        with self._line() as line:
            values = {"id": job.id.encode(), "key": job.key.encode(), "claim": claim}
            if rows := line.run(CLAIM, **values, lease=f"{LEASE_S} seconds"):
                return Claimed(rows[0][0])
            status, doomed, attempts, error, again_s = line.run(WHY_NOT, id=job.id.encode())[0]
        if status in ("succeeded", "dead"):
            return Denied("ended")
        if doomed:
            return Denied("doomed", attempts=attempts, error=error)
        return Denied("busy", again_s=max(again_s, 0.0))

    def succeed(self, job: Job, *, claim: str, attempt: int) -> bool:
        """Book a success; False if the claim was lost."""
        with self._line() as line:
            return bool(line.run(SUCCEED, id=job.id.encode(), claim=claim, attempt=attempt))

    def fail(self, job: Job, *, claim: str, attempt: int, error: str, wait_s: float | None) -> bool:
        """Book a failure; False if the claim was lost. The job waits, or is doomed if `wait_s` is None."""
        with self._line() as line:
            booked = line.run(
                FAIL,
                **{"id": job.id.encode(), "claim": claim, "attempt": attempt, "error": error},
                doomed=wait_s is None,
                wait=f"{wait_s or 0} seconds",
            )
        return bool(booked)

    def bury(self, job: Job) -> None:
        """The dead letter of a doomed job is written."""
        with self._line() as line:
            line.run(BURY, id=job.id.encode())

    @contextmanager
    def _line(self) -> Iterator[Line]:
        try:
            with self._connections.lend(DEADLINE_S) as line:
                yield line
        except (Error, OSError) as error:
            raise LedgerUnavailable(f"{type(error).__name__}: {error}") from error


def migrate() -> None:
    """Create the table, however many do so at once."""
    with Connections(os.environ["DATABASE_URL"], size=1).lend(10.0) as line:
        line.session.run("BEGIN")
        line.session.run("SELECT pg_advisory_xact_lock(20817)")
        line.session.run(SCHEMA)
        line.session.run("COMMIT")
