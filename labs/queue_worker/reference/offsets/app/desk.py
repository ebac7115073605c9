"""Taking jobs and telling how they stand."""

from __future__ import annotations

from dataclasses import dataclass

from app.database import Database
from app.jobs import Job

# Both rows or none: what a client was promised is known, and on its way, however this process ends.
TAKE = """
WITH taken AS (INSERT INTO job (id, key) VALUES ($1, $2))
INSERT INTO outbox (key, value) VALUES ($2, $3)
"""
FIND = "SELECT key, status, attempts, error FROM job WHERE id = $1"


@dataclass(frozen=True)
class Standing:
    """error: why the job is dead, and None unless it is."""

    key: str
    status: str
    attempts: int
    error: str | None


class Desk:
    """Every method raises DatabaseUnavailable where Postgres does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, job: Job) -> None:
        """Promise a job."""
        async with self._database.lend() as connection:
            await connection.execute(TAKE, job.id.encode(), job.key.encode(), job.record())

    async def find(self, job_id: str) -> Standing | None:
        """How a job stands, or None if there is none."""
        async with self._database.lend() as connection:
            row = await connection.fetchrow(FIND, job_id.encode(errors="replace"))
        if row is None:
            return None
        status = row["status"]
        error = row["error"] if status == "dead" else None
        return Standing(row["key"].decode(), status, row["attempts"], error)
