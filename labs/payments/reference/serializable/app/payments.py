"""What a request does: find or begin the key's intent, and settle it."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from app import intents
from app.cashier import Cashier
from app.database import Database
from app.intents import Begun, Ended, Key, Reused
from app.orders import PaymentOrder

# A POST may take 10 s, a GET 5 s.
BEGUN_WITHIN_S = 4.0
PROVIDER_WITHIN_S = 7.0
ANSWER_WITHIN_S = 9.3
READ_WITHIN_S = 4.0

SHOW = """
SELECT order_id, amount_cents, currency, charge_id,
  (SELECT coalesce(sum(amount_cents), 0)::bigint FROM intents
   WHERE payment_id = payments.id AND kind = 'refund' AND status = 201)
FROM payments WHERE id = :id AND merchant_id = :merchant
"""


class KeyReused(Exception):
    """The key was used for something else."""


class Payments:
    """Every method raises DatabaseUnavailable where Postgres does not answer."""

    def __init__(self, database: Database, cashier: Cashier) -> None:
        self._database = database
        self._cashier = cashier

    def find(self, merchant_id: str, payment_id: UUID) -> dict[str, Any] | None:
        """The payment, if the merchant has it."""
        until = time.monotonic() + READ_WITHIN_S
        rows = self._database.run(SHOW, id=payment_id, merchant=merchant_id, until=until)
        if not rows:
            return None
        names = ("order_id", "amount_cents", "currency", "charge_id", "refunded_cents")
        return {"id": str(payment_id), "status": "succeeded", **dict(zip(names, rows[0], strict=True))}

    def pay(self, key: Key, order: PaymentOrder) -> Ended:
        """Raises KeyReused, and ProviderFailed; then the key goes on when it comes again."""
        began = time.monotonic()
        begun = intents.begin_payment(self._database, key, order, until=began + BEGUN_WITHIN_S)
        return self._settle(begun, began)

    def refund(self, key: Key, payment_id: UUID, amount_cents: int) -> Ended | None:
        """None if the merchant has no such payment. Raises KeyReused, and ProviderFailed; then the amount
        stays taken until the key comes again, or the relay's process has ended it.
        """
        began = time.monotonic()
        begun = intents.begin_refund(
            self._database, key, payment_id, amount_cents=amount_cents, until=began + BEGUN_WITHIN_S
        )
        return None if begun is None else self._settle(begun, began)

    def _settle(self, begun: Begun, began: float) -> Ended:
        if isinstance(begun, Reused):
            raise KeyReused
        if isinstance(begun, Ended):
            return begun
        return self._cashier.settle(
            begun, provider_until=began + PROVIDER_WITHIN_S, until=began + ANSWER_WITHIN_S
        )
