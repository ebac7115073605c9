"""Payments: what happens between the client's key, the provider and the tables, in which order."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

from app import events, keys
from app.database import Database
from app.keys import Ended, Keys, Lease
from app.orders import PaymentOrder
from app.problems import document
from app.provider import Declined, Provider

# A POST may take 10 s. What comes after the provider needs time too.
PROVIDER_UNTIL_S = 6.0

FIND = "SELECT * FROM payments WHERE id = $1 AND merchant_id = $2"
INSERT = """
INSERT INTO payments (id, merchant_id, order_id, amount_cents, currency, charge_id)
VALUES ($1, $2, $3, $4, $5, $6) RETURNING *
"""


class Payments:
    """Every method raises DatabaseUnavailable where Postgres does not answer."""

    def __init__(self, database: Database, keys: Keys, provider: Provider) -> None:
        self._database = database
        self._keys = keys
        self._provider = provider

    async def find(self, merchant_id: str, payment_id: UUID) -> str | None:
        """The payment as JSON text, if the merchant has it."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(FIND, payment_id, merchant_id)
        return None if row is None else _shown(row)

    async def pay(self, lease: Lease, order: PaymentOrder) -> Ended:
        """Raises ProviderFailed; then the key may be taken again, and the provider be asked again."""
        until = asyncio.get_running_loop().time() + PROVIDER_UNTIL_S
        async with self._keys.kept(lease):
            charge = await self._provider.charge(lease.subject, order, until=until)
            async with self._database.transaction() as connection:
                if isinstance(charge, Declined):
                    answer = document(402, "the payment provider declined")
                    return await _end(connection, lease, 402, answer)
                return await _succeed(connection, lease, order, charge)


async def _succeed(connection: Any, lease: Lease, order: PaymentOrder, charge_id: str) -> Ended:
    shown = {
        "id": str(lease.subject),
        "order_id": order.order_id,
        "amount_cents": order.amount_cents,
        "currency": order.currency,
        "status": "succeeded",
        "charge_id": charge_id,
        "refunded_cents": 0,
    }
    answer = json.dumps(shown)
    if not await keys.end(connection, lease, status=201, answer=answer):
        return await keys.ended(connection, lease)
    payment = await connection.fetchrow(
        INSERT,
        lease.subject,
        lease.merchant_id,
        order.order_id,
        order.amount_cents,
        order.currency,
        charge_id,
    )
    await events.announce(connection, "payment.succeeded", payment, amount_cents=order.amount_cents)
    return Ended(201, answer, lease.subject)


async def _end(connection: Any, lease: Lease, status: int, answer: str) -> Ended:
    if await keys.end(connection, lease, status=status, answer=answer):
        return Ended(status, answer, lease.subject)
    return await keys.ended(connection, lease)


def _shown(row: Any) -> str:
    return json.dumps(
        {
            "id": str(row["id"]),
            "order_id": row["order_id"],
            "amount_cents": row["amount_cents"],
            "currency": row["currency"],
            "status": "succeeded",
            "charge_id": row["charge_id"],
            "refunded_cents": row["refunded_cents"],
        }
    )
