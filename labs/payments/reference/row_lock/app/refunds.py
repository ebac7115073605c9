"""Refunds: they take their share of the payment before the provider is asked."""

from __future__ import annotations

import json
from uuid import UUID

from app import outbox, payments
from app.keys import Desk, Ended, Key, Work
from app.outbox import Event
from app.payments import Payment
from app.problems import document
from app.provider import Provider

# Refunds of one payment are decided one after another.
LOCK_PAYMENT = "SELECT FROM payments WHERE id = %s FOR UPDATE"
LEFT = """
SELECT amount_cents - (SELECT coalesce(sum(amount_cents), 0) FROM refunds WHERE payment_id = %s)
FROM payments WHERE id = %s
"""
BEGUN = "SELECT FROM refunds WHERE id = %s"
INSERT = "INSERT INTO refunds (id, payment_id, amount_cents) VALUES (%s, %s, %s)"
DONE = "UPDATE refunds SET done = true WHERE id = %s"


class Refunds:
    """Every method raises DatabaseUnavailable where Postgres does not answer."""

    def __init__(self, desk: Desk, provider: Provider) -> None:
        self._desk = desk
        self._provider = provider

    def refund(self, key: Key, payment_id: UUID, amount_cents: int) -> Ended | None:
        """None if the merchant has no such payment. Raises ProviderFailed; then the amount stays taken
        until the key comes again.

        Two transactions, for what the first writes must be there whatever happens in the second.
        """
        with self._desk.work(key) as work:
            if ended := work.declare():
                return ended
            with work.locked() as (subject, ended):
                if ended:
                    return ended
                payment = payments.find(work.connection, key.merchant_id, payment_id)
                if payment is None:
                    work.free()
                    return None
                if refused := _begin(work, subject, payment, amount_cents):
                    return refused
            return self._finish(work, payment, amount_cents)

    def _finish(self, work: Work, payment: Payment, amount_cents: int) -> Ended:
        with work.locked() as (subject, ended):
            if ended:
                return ended
            self._provider.refund(subject, payment.charge_id, amount_cents, until=work.until)
            return _succeed(work, subject, payment, amount_cents)


def _begin(work: Work, subject: UUID, payment: Payment, amount_cents: int) -> Ended | None:
    """Take the amount, unless an earlier try has. Ended if the payment has less left than that."""
    if work.connection.execute(BEGUN, (subject,)).fetchone() is not None:
        return None
    # A statement of its own: the next one sees what was committed while this one waited.
    work.connection.execute(LOCK_PAYMENT, (payment.id,))
    row = work.connection.execute(LEFT, (payment.id, payment.id)).fetchone()
    if row is None or amount_cents > row[0]:
        return work.end(subject, status=409, answer=document(409, "the payment has less left than that"))
    work.connection.execute(INSERT, (subject, payment.id, amount_cents))
    return None


def _succeed(work: Work, subject: UUID, payment: Payment, amount_cents: int) -> Ended:
    # Whoever holds this draws the event's id, so ids of a payment are in the order of their commits.
    work.connection.execute(LOCK_PAYMENT, (payment.id,))
    work.connection.execute(DONE, (subject,))
    event = Event(
        type="payment.refunded",
        payment_id=str(payment.id),
        merchant_id=work.key.merchant_id,
        order_id=payment.order_id,
        amount_cents=amount_cents,
        currency=payment.currency,
    )
    outbox.append(work.connection, event)
    shown = {
        "id": str(subject),
        "payment_id": str(payment.id),
        "amount_cents": amount_cents,
        "status": "succeeded",
    }
    return work.end(subject, status=201, answer=json.dumps(shown))
