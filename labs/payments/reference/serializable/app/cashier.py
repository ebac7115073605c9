"""Brings an intent to its end: asks the provider, and writes down what came of it."""

from __future__ import annotations

import json
from dataclasses import replace
from uuid import UUID, uuid4

from app import intents
from app.connections import Line
from app.database import Database
from app.flights import Flights
from app.intents import Ended, Intent
from app.problems import document
from app.provider import Declined, Provider

PAID = """
INSERT INTO payments (id, merchant_id, order_id, amount_cents, currency, charge_id)
VALUES (:id, :merchant, :order_id, :amount, :currency, :charge)
"""
ANNOUNCE = "INSERT INTO events (payment_id, value) VALUES (:payment, :value)"


class Cashier:
    """Any number of them may work on an intent at a time, in any number of processes: the provider tells
    all of them the same, and the first to write it down has written it.
    """

    def __init__(self, database: Database, provider: Provider) -> None:
        self._database = database
        self._provider = provider
        self._flights = Flights[Ended]()

    def settle(self, intent: Intent, *, provider_until: float, until: float) -> Ended:
        """`until`s are by time.monotonic. Raises ProviderFailed and DatabaseUnavailable; then it may be
        settled later, by anybody.
        """
        ended, is_anothers = self._flights.join(
            intent.id, lambda: self._settle(intent, provider_until=provider_until, until=until)
        )
        return replace(ended, replayed=True) if is_anothers else ended

    def _settle(self, intent: Intent, *, provider_until: float, until: float) -> Ended:
        outcome = self._ask(intent, provider_until)
        event_id = uuid4()  # the same, if the transaction has to be begun again
        return self._database.decide(
            lambda line: _write(line, intent, outcome, event_id), about=intent.payment_id, until=until
        )

    def _ask(self, intent: Intent, until: float) -> str | Declined:
        if intent.kind == "payment":
            return self._provider.charge(
                intent.id,
                amount_cents=intent.amount_cents,
                currency=intent.currency,
                source=intent.source or "",
                until=until,
            )
        return self._provider.refund(
            intent.id, charge_id=intent.charge_id or "", amount_cents=intent.amount_cents, until=until
        )


def _write(line: Line, intent: Intent, outcome: str | Declined, event_id: UUID) -> Ended:
    if isinstance(outcome, Declined):
        answer = document(402, "the payment provider declined")
        return intents.end(line, intent, status=402, answer=answer) or intents.ended(line, intent)
    ended = intents.end(line, intent, status=201, answer=_shown(intent, outcome))
    if ended is None:
        return intents.ended(line, intent)
    if intent.kind == "payment":
        _pay(line, intent, outcome)
    line.run(ANNOUNCE, payment=intent.payment_id, value=_event(intent, event_id))
    return ended


def _pay(line: Line, intent: Intent, charge_id: str) -> None:
    line.run(
        PAID,
        id=intent.payment_id,
        merchant=intent.merchant_id,
        order_id=intent.order_id,
        amount=intent.amount_cents,
        currency=intent.currency,
        charge=charge_id,
    )


def _shown(intent: Intent, provider_id: str) -> str:
    """What the client is told of a success, as JSON text."""
    if intent.kind == "refund":
        shown = {"id": str(intent.id), "payment_id": str(intent.payment_id)}
        return json.dumps({**shown, "amount_cents": intent.amount_cents, "status": "succeeded"})
    shown = {
        "id": str(intent.id),
        "order_id": intent.order_id,
        "amount_cents": intent.amount_cents,
        "currency": intent.currency,
        "status": "succeeded",
        "charge_id": provider_id,
        "refunded_cents": 0,
    }
    return json.dumps(shown)


def _event(intent: Intent, event_id: UUID) -> str:
    """The bytes of the record are fixed here, event_id included: a repeat is identical."""
    return json.dumps(
        {
            "event_id": str(event_id),
            "type": "payment.succeeded" if intent.kind == "payment" else "payment.refunded",
            "payment_id": str(intent.payment_id),
            "merchant_id": intent.merchant_id,
            "order_id": intent.order_id,
            "amount_cents": intent.amount_cents,
            "currency": intent.currency,
        }
    )
