"""Refunds: reserved before the provider is asked, so that no race and no crash gives back too much."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app import events, keys
from app.database import Database
from app.keys import Ended, Keys, Lease
from app.payments import FIND, PROVIDER_UNTIL_S
from app.problems import document
from app.provider import Provider

BEGUN = "SELECT EXISTS (SELECT FROM refunds WHERE id = $1)"
# One statement looks and takes, so that refunds of one payment are decided one after another.
RESERVE = """
UPDATE payments SET reserved_cents = reserved_cents + $2
WHERE id = $1 AND refunded_cents + reserved_cents + $2 <= amount_cents
RETURNING true
"""
INSERT = "INSERT INTO refunds (id, payment_id, amount_cents) VALUES ($1, $2, $3)"
DONE = "UPDATE refunds SET provider_id = $2 WHERE id = $1"
GIVEN_BACK = """
UPDATE payments SET reserved_cents = reserved_cents - $2, refunded_cents = refunded_cents + $2 WHERE id = $1
RETURNING *
"""


@dataclass(frozen=True)
class Reserved:
    charge_id: str


class Refunds:
    """Every method raises DatabaseUnavailable where Postgres does not answer."""

    def __init__(self, database: Database, keys: Keys, provider: Provider) -> None:
        self._database = database
        self._keys = keys
        self._provider = provider

    async def refund(self, lease: Lease, payment_id: UUID, amount_cents: int) -> Ended | None:
        """None if the merchant has no such payment: then the key is free again. Raises ProviderFailed;
        then the amount stays reserved until the key is taken again.
        """
        until = asyncio.get_running_loop().time() + PROVIDER_UNTIL_S
        async with self._keys.kept(lease):
            async with self._database.transaction() as connection:
                begun = await _reserve(connection, lease, payment_id, amount_cents)
            if begun is None:
                await self._keys.free(lease)
            if not isinstance(begun, Reserved):
                return begun
            provider_id = await self._provider.refund(
                lease.subject, begun.charge_id, amount_cents, until=until
            )
            async with self._database.transaction() as connection:
                return await _succeed(connection, lease, payment_id, amount_cents, provider_id)


async def _reserve(
    connection: Any, lease: Lease, payment_id: UUID, amount_cents: int
) -> Reserved | Ended | None:
    """Begin, unless an earlier try has. Ended if the payment has less left than that."""
    payment = await connection.fetchrow(FIND, payment_id, lease.merchant_id)
    if payment is None:
        return None
    if not await connection.fetchval(BEGUN, lease.subject):
        if not await connection.fetchval(RESERVE, payment_id, amount_cents):
            return await _refuse(connection, lease)
        await connection.execute(INSERT, lease.subject, payment_id, amount_cents)
    return Reserved(payment["charge_id"])


async def _refuse(connection: Any, lease: Lease) -> Ended:
    answer = document(409, "the payment has less left than that")
    if await keys.end(connection, lease, status=409, answer=answer):
        return Ended(409, answer, lease.subject)
    return await keys.ended(connection, lease)


async def _succeed(
    connection: Any, lease: Lease, payment_id: UUID, amount_cents: int, provider_id: str
) -> Ended:
    shown = {
        "id": str(lease.subject),
        "payment_id": str(payment_id),
        "amount_cents": amount_cents,
        "status": "succeeded",
    }
    answer = json.dumps(shown)
    if not await keys.end(connection, lease, status=201, answer=answer):
        return await keys.ended(connection, lease)
    await connection.execute(DONE, lease.subject, provider_id)
    # The payment's row is locked from here on: its events get their ids in the order of their commits.
    payment = await connection.fetchrow(GIVEN_BACK, payment_id, amount_cents)
    await events.announce(connection, "payment.refunded", payment, amount_cents=amount_cents)
    return Ended(201, answer, lease.subject)
