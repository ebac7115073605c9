"""Events, put down in the transaction of what they tell of; the relay publishes them later."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from uuid import UUID, uuid4

from app.connections import Connection

APPEND = "INSERT INTO outbox (payment_id, value) VALUES (%s, %s)"


@dataclass(frozen=True)
class Event:
    type: str
    payment_id: str
    merchant_id: str
    order_id: str
    amount_cents: int
    currency: str


def append(connection: Connection, event: Event) -> None:
    """The bytes are fixed here, event_id included: a repeat is identical."""
    value = json.dumps({"event_id": str(uuid4()), **asdict(event)})
    connection.execute(APPEND, (UUID(event.payment_id), value))
