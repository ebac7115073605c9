"""Payments: what happens between the client's key, the provider and the tables, in which order."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app import outbox
from app.connections import Connection, Connections
from app.keys import Desk, Ended, Key, Work
from app.orders import PaymentOrder
from app.outbox import Event
from app.problems import document
from app.provider import Declined, Provider

READ_WITHIN_S = 4.0

FIND = """
SELECT id, order_id, amount_cents, currency, charge_id,
  (SELECT coalesce(sum(amount_cents), 0) FROM refunds WHERE payment_id = payments.id AND done)::bigint
FROM payments WHERE id = %s AND merchant_id = %s
"""
INSERT = """
INSERT INTO payments (id, merchant_id, order_id, amount_cents, currency, charge_id)
VALUES (%s, %s, %s, %s, %s, %s)
"""


@dataclass(frozen=True)
class Payment:
    id: UUID
    order_id: str
    amount_cents: int
    currency: str
    charge_id: str
    refunded_cents: int = 0

    def shown(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "order_id": self.order_id,
            "amount_cents": self.amount_cents,
            "currency": self.currency,
            "status": "succeeded",
            "charge_id": self.charge_id,
            "refunded_cents": self.refunded_cents,
        }


def find(connection: Connection, merchant_id: str, payment_id: UUID) -> Payment | None:
    row = connection.execute(FIND, (payment_id, merchant_id)).fetchone()
    return None if row is None else Payment(*row)


class Payments:
    """Every method raises DatabaseUnavailable where Postgres does not answer."""

    def __init__(self, connections: Connections, desk: Desk, provider: Provider) -> None:
        self._connections = connections
        self._desk = desk
        self._provider = provider

    def find(self, merchant_id: str, payment_id: UUID) -> Payment | None:
        with self._connections.lend(until=time.monotonic() + READ_WITHIN_S) as connection:
            return find(connection, merchant_id, payment_id)

    def pay(self, key: Key, order: PaymentOrder) -> Ended:
        """Raises ProviderFailed; then nothing is stored but what the key is for.

        The key stays locked while the provider is asked, so whoever comes with it meanwhile waits.
        """
        with self._desk.work(key) as work:
            if ended := work.declare():
                return ended
            with work.locked() as (subject, ended):
                if ended:
                    return ended
                charge = self._provider.charge(subject, order, until=work.until)
                if isinstance(charge, Declined):
                    answer = document(402, "the payment provider declined")
                    return work.end(subject, status=402, answer=answer)
                return _succeed(work, subject, order, charge)


def _succeed(work: Work, subject: UUID, order: PaymentOrder, charge_id: str) -> Ended:
    merchant_id = work.key.merchant_id
    payment = Payment(subject, order.order_id, order.amount_cents, order.currency, charge_id)
    values = (subject, merchant_id, order.order_id, order.amount_cents, order.currency, charge_id)
    work.connection.execute(INSERT, values)
    event = Event(
        type="payment.succeeded",
        payment_id=str(subject),
        merchant_id=merchant_id,
        order_id=order.order_id,
        amount_cents=order.amount_cents,
        currency=order.currency,
    )
    outbox.append(work.connection, event)
    return work.end(subject, status=201, answer=json.dumps(payment.shown()))
