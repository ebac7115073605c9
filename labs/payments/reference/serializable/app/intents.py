"""What clients asked for, by their keys: begun, and ended with an answer that is given again."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

from app.connections import Line
from app.database import Database
from app.orders import PaymentOrder
from app.problems import document

COLUMNS = "id, merchant_id, kind, payment_id, order_id, amount_cents, currency, source, charge_id"
FIND = f"""
SELECT fingerprint, status, answer, {COLUMNS} FROM intents WHERE merchant_id = :merchant AND key = :key
"""  # noqa: S608
# It writes without having read, so new keys never collide.
BEGIN = f"""
INSERT INTO intents (key, fingerprint, status, answer, {COLUMNS})
VALUES (:key, :fingerprint, :status, :answer,
  :id, :merchant, :kind, :payment, :order_id, :amount, :currency, :source, :charge)
ON CONFLICT (merchant_id, key) DO NOTHING RETURNING true
"""  # noqa: S608
END = "UPDATE intents SET status = :status, answer = :answer WHERE id = :id AND status IS NULL RETURNING true"
ENDED = "SELECT status, answer FROM intents WHERE id = :id"
# The payment, and what its refunds have taken of it: those that ended well, and those that may yet.
REFUNDABLE = """
SELECT order_id, amount_cents, currency, charge_id,
  (SELECT coalesce(sum(amount_cents), 0)::bigint FROM intents
   WHERE payment_id = payments.id AND kind = 'refund' AND (status IS NULL OR status = 201))
FROM payments WHERE id = :id AND merchant_id = :merchant
"""


@dataclass(frozen=True)
class Key:
    """A client's key, and what the request is about that came with it."""

    merchant_id: str
    name: str
    fingerprint: str


@dataclass(frozen=True)
class Intent:
    """A payment or a refund that has begun. source: of a payment; charge_id: of the payment refunded."""

    id: UUID
    merchant_id: str
    kind: str
    payment_id: UUID
    order_id: str
    amount_cents: int
    currency: str
    source: str | None
    charge_id: str | None


@dataclass(frozen=True)
class Ended:
    """What a key has ended with."""

    status: int
    answer: str
    payment_id: UUID
    replayed: bool = False


@dataclass(frozen=True)
class Reused:
    """The key was used for something else."""


Begun = Intent | Ended | Reused


def begin_payment(database: Database, key: Key, order: PaymentOrder, *, until: float) -> Begun:
    """The key's intent, a new one if there was none."""
    id_ = uuid4()
    intent = Intent(
        id=id_,
        merchant_id=key.merchant_id,
        kind="payment",
        payment_id=id_,
        order_id=order.order_id,
        amount_cents=order.amount_cents,
        currency=order.currency,
        source=order.source,
        charge_id=None,
    )
    while True:
        if database.run(BEGIN, until=until, **_values(key, intent)):
            return intent
        if known := _find(database, key, until):
            return known


def begin_refund(
    database: Database, key: Key, payment_id: UUID, *, amount_cents: int, until: float
) -> Begun | None:
    """The key's intent, a new one if there was none; Ended if the payment has less left than that; None
    if the merchant has no such payment.
    """
    while True:
        if known := _find(database, key, until):
            return known
        begun = database.decide(
            lambda line: _reserve(line, key, payment_id, amount_cents), about=payment_id, until=until
        )
        if not isinstance(begun, Reused):
            return begun


def _reserve(line: Line, key: Key, payment_id: UUID, amount_cents: int) -> Intent | Ended | Reused | None:
    """What it reads stays as it is until it has written, or it is begun again: the transaction sees to that.
    Reused if the key has just been taken.
    """
    payment = line.run(REFUNDABLE, id=payment_id, merchant=key.merchant_id)
    if not payment:
        return None
    order_id, paid_cents, currency, charge_id, taken_cents = payment[0]
    intent = Intent(
        id=uuid4(),
        merchant_id=key.merchant_id,
        kind="refund",
        payment_id=payment_id,
        order_id=order_id,
        amount_cents=amount_cents,
        currency=currency,
        source=None,
        charge_id=charge_id,
    )
    begun: Intent | Ended = intent
    if taken_cents + amount_cents > paid_cents:
        begun = Ended(409, document(409, "the payment has less left than that"), payment_id)
    return begun if line.run(BEGIN, **_values(key, intent, begun)) else Reused()


def end(line: Line, intent: Intent, *, status: int, answer: str) -> Ended | None:
    """End it, in the line's transaction. None if somebody else has."""
    if not line.run(END, id=intent.id, status=status, answer=answer):
        return None
    return Ended(status, answer, intent.payment_id)


def ended(line: Line, intent: Intent) -> Ended:
    """What somebody else has ended it with."""
    status, answer = line.run(ENDED, id=intent.id)[0]
    return Ended(status, answer, intent.payment_id, replayed=True)


def _find(database: Database, key: Key, until: float) -> Begun | None:
    found = database.run(FIND, until=until, merchant=key.merchant_id, key=key.name)
    if not found:
        return None
    fingerprint, status, answer, *columns = found[0]
    if fingerprint != key.fingerprint:
        return Reused()
    intent = Intent(*columns)
    return intent if status is None else Ended(status, answer, intent.payment_id, replayed=True)


def _values(key: Key, intent: Intent, begun: Intent | Ended | None = None) -> dict[str, object]:
    ended = begun if isinstance(begun, Ended) else None
    return {
        "key": key.name,
        "fingerprint": key.fingerprint,
        "status": ended.status if ended else None,
        "answer": ended.answer if ended else None,
        "id": intent.id,
        "merchant": intent.merchant_id,
        "kind": intent.kind,
        "payment": intent.payment_id,
        "order_id": intent.order_id,
        "amount": intent.amount_cents,
        "currency": intent.currency,
        "source": intent.source,
        "charge": intent.charge_id,
    }
