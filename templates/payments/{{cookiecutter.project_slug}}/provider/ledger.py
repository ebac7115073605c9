"""What the provider has done. A repeated key gets its first answer, and nothing is done again."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Charge:
    """One charge, and what was given back of it."""

    id: str
    amount_cents: int
    currency: str
    source: str
    reference: str
    refunded_cents: int = 0


@dataclass(frozen=True)
class Answer:
    """What is answered; the same to every call with that key."""

    status: int
    body: dict[str, Any] = field(default_factory=dict)


class Ledger:
    """All that was charged and given back. Calls may come from many threads; those of one key queue."""

    def __init__(self) -> None:
        self.charges: list[Charge] = []
        self.refunds: list[dict[str, Any]] = []
        self._answers: dict[tuple[str, str], Answer] = {}
        self._all = threading.Lock()
        self._keys: dict[tuple[str, str], threading.Lock] = defaultdict(threading.Lock)

    def charge(self, key: str, wanted: dict[str, Any]) -> Answer:
        """Take the money, unless this key was here before or the source says "declined"."""
        with self._turn("charge", key):
            return self._once("charge", key) or self._keep("charge", key, self._charge(wanted))

    def refund(self, key: str, wanted: dict[str, Any]) -> Answer:
        """Give money back, unless this key was here before; never more than what was taken."""
        with self._turn("refund", key):
            return self._once("refund", key) or self._keep("refund", key, self._refund(wanted))

    def source_of(self, charge_id: str) -> str:
        """How the charge was paid; "" if there is none of that id."""
        return next((charge.source for charge in self.charges if charge.id == charge_id), "")

    def _turn(self, kind: str, key: str) -> threading.Lock:
        with self._all:
            return self._keys[kind, key]

    def _once(self, kind: str, key: str) -> Answer | None:
        return self._answers.get((kind, key))

    def _keep(self, kind: str, key: str, answer: Answer) -> Answer:
        self._answers[kind, key] = answer
        return answer

    def _charge(self, wanted: dict[str, Any]) -> Answer:
        if wanted["source"].startswith("declined"):
            return Answer(402, {"status": "declined"})
        with self._all:
            charge = Charge(
                id=f"ch_{len(self.charges) + 1}",
                amount_cents=wanted["amount_cents"],
                currency=wanted["currency"],
                source=wanted["source"],
                reference=str(wanted.get("reference", "")),
            )
            self.charges.append(charge)
        return Answer(201, {"id": charge.id, "status": "succeeded"})

    def _refund(self, wanted: dict[str, Any]) -> Answer:
        with self._all:
            charge = next((charge for charge in self.charges if charge.id == wanted["charge_id"]), None)
            if charge is None:
                return Answer(404)
            if charge.refunded_cents + wanted["amount_cents"] > charge.amount_cents:
                return Answer(409)
            charge.refunded_cents += wanted["amount_cents"]
            refund = {"id": f"re_{len(self.refunds) + 1}", **wanted}
            self.refunds.append(refund)
        return Answer(201, {"id": refund["id"]})
