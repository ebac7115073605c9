"""Events, put down in the transaction of what they tell of; the relay publishes them later."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

CHANNEL = "outbox"
# Postgres tells listeners at COMMIT, and only then.
APPEND = """
WITH event AS (INSERT INTO outbox (payment_id, value) VALUES ($1, $2)) SELECT pg_notify($3, '')
"""


async def announce(connection: Any, type_: str, payment: Any, *, amount_cents: int) -> None:
    """`payment`: a row of payments. The bytes are fixed here, event_id included: a repeat is identical."""
    value = {
        "event_id": str(uuid4()),
        "type": type_,
        "payment_id": str(payment["id"]),
        "merchant_id": payment["merchant_id"],
        "order_id": payment["order_id"],
        "amount_cents": amount_cents,
        "currency": payment["currency"],
    }
    await connection.execute(APPEND, payment["id"], json.dumps(value), CHANNEL)
