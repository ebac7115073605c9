"""Clients' keys: free, in progress under a lease, or ended with an answer that is given again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from app.database import Database, DatabaseUnavailable

# One statement decides who has the lease: a row that is being inserted by another is waited for.
TAKE = """
INSERT INTO keys (merchant_id, key, fingerprint, subject, owner, locked_until)
VALUES ($1, $2, $3, $4, $5, clock_timestamp() + $6)
ON CONFLICT (merchant_id, key) DO UPDATE SET owner = excluded.owner, locked_until = excluded.locked_until
WHERE keys.status IS NULL AND keys.fingerprint = excluded.fingerprint
  AND keys.locked_until < clock_timestamp()
RETURNING subject
"""
LOOK = "SELECT fingerprint, subject, status, answer FROM keys WHERE merchant_id = $1 AND key = $2"
RENEW = """
UPDATE keys SET locked_until = clock_timestamp() + $4
WHERE merchant_id = $1 AND key = $2 AND owner = $3 AND status IS NULL
"""
RELEASE = """
UPDATE keys SET locked_until = '-infinity'
WHERE merchant_id = $1 AND key = $2 AND owner = $3 AND status IS NULL
"""
FREE = "DELETE FROM keys WHERE merchant_id = $1 AND key = $2 AND owner = $3 AND status IS NULL"
# Whoever knows the outcome may end the key, also after its lease: the provider tells everybody the same.
END = """
UPDATE keys SET status = $3, answer = $4 WHERE merchant_id = $1 AND key = $2 AND status IS NULL
RETURNING true
"""


class KeyInProgress(Exception):
    """Somebody works on it."""


class KeyReused(Exception):
    """It was used for something else."""


@dataclass(frozen=True)
class Ended:
    """What the key ended with: HTTP status and JSON text; subject: the id of the payment or refund."""

    status: int
    answer: str
    subject: UUID


@dataclass(frozen=True)
class Lease:
    """The right to work on a key for a while; subject as in Ended."""

    merchant_id: str
    key: str
    owner: UUID
    subject: UUID


class Keys:
    """Every method raises DatabaseUnavailable where Postgres does not answer."""

    def __init__(self, database: Database, *, lock_s: float) -> None:
        self._database = database
        self._life = timedelta(seconds=lock_s)

    async def take(self, merchant_id: str, key: str, fingerprint: bytes) -> Lease | Ended:
        """The lease, or what the key ended with. Raises KeyInProgress and KeyReused."""
        owner = uuid4()
        try:
            async with self._database.session() as connection:
                subject = await connection.fetchval(
                    TAKE, merchant_id, key, fingerprint, uuid4(), owner, self._life
                )
                if subject is not None:
                    return Lease(merchant_id, key, owner, subject)
                row = await connection.fetchrow(LOOK, merchant_id, key)
        except DatabaseUnavailable:
            await self.release(Lease(merchant_id, key, owner, owner))
            raise
        return _ended(row, fingerprint)

    @asynccontextmanager
    async def kept(self, lease: Lease) -> AsyncIterator[None]:
        """Renew the lease during the block; if that ends with an exception, give it back."""
        renewing = asyncio.create_task(self._renew(lease))
        try:
            yield
        except Exception:
            await self.release(lease)
            raise
        finally:
            renewing.cancel()

    async def _renew(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(self._life.total_seconds() / 3)
            with suppress(DatabaseUnavailable):  # the next may succeed
                async with self._database.session() as connection:
                    await connection.execute(RENEW, lease.merchant_id, lease.key, lease.owner, self._life)

    async def release(self, lease: Lease) -> None:
        """Let the next request with the key go on at once. Where that fails, the lease runs out."""
        with suppress(DatabaseUnavailable):
            async with self._database.session(0.5) as connection:
                await connection.execute(RELEASE, lease.merchant_id, lease.key, lease.owner)

    async def free(self, lease: Lease) -> None:
        """Forget the key: nothing was begun."""
        async with self._database.session() as connection:
            await connection.execute(FREE, lease.merchant_id, lease.key, lease.owner)


async def end(connection: Any, lease: Lease, *, status: int, answer: str) -> bool:
    """End the key in the connection's transaction. False if somebody else has."""
    ended = await connection.fetchval(END, lease.merchant_id, lease.key, status, answer)
    return ended is not None


async def ended(connection: Any, lease: Lease) -> Ended:
    """What somebody else has ended the key with."""
    row = await connection.fetchrow(LOOK, lease.merchant_id, lease.key)
    return Ended(row["status"], row["answer"], row["subject"])


def _ended(row: Any, fingerprint: bytes) -> Ended:
    if row is None or (row["status"] is None and row["fingerprint"] == fingerprint):
        raise KeyInProgress
    if row["fingerprint"] != fingerprint:
        raise KeyReused
    return Ended(row["status"], row["answer"], row["subject"])
