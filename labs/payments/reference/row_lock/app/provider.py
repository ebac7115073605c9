"""The payment provider: asked again with the same key until it has said what it did."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from app.orders import PaymentOrder

logger = logging.getLogger(__name__)

# It may take 3 s to answer.
PATIENCE_S = 4.0
TRIES = 3
PAUSE_S = 0.2


class ProviderFailed(Exception):
    """It did not say whether it took the money. The same key may be asked with again."""


@dataclass(frozen=True)
class Declined:
    """The provider took nothing, and never will for this key."""


class Provider:
    """`until` is by time.monotonic. A connection for each call: one that is kept may have died meanwhile."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url.rstrip("/"))

    def charge(self, payment_id: UUID, order: PaymentOrder, *, until: float) -> str | Declined:
        """The charge's id. Raises ProviderFailed."""
        body = {
            "amount_cents": order.amount_cents,
            "currency": order.currency,
            "source": order.source,
            "reference": order.order_id,
        }
        return self._ask("charges", payment_id, body, until=until)

    def refund(self, refund_id: UUID, charge_id: str, amount_cents: int, *, until: float) -> None:
        """Raises ProviderFailed."""
        body = {"charge_id": charge_id, "amount_cents": amount_cents}
        if isinstance(self._ask("refunds", refund_id, body, until=until), Declined):
            raise ProviderFailed("it declined a refund")

    def _ask(self, what: str, key: UUID, body: dict[str, Any], *, until: float) -> str | Declined:
        """A failed call may have done its work: the next one, with the same key, tells."""
        failure: Exception | None = None
        for attempt in range(TRIES):
            time.sleep(PAUSE_S * attempt)
            left_s = min(until - time.monotonic(), PATIENCE_S)
            if left_s <= 0:
                break
            try:
                return self._call(what, key, body, timeout_s=left_s)
            except (ProviderFailed, HTTPException, OSError, ValueError, LookupError) as error:
                failure = error
        logger.warning("the provider fails: %s %s", type(failure).__name__, failure)
        raise ProviderFailed from failure

    def _call(self, what: str, key: UUID, body: dict[str, Any], *, timeout_s: float) -> str | Declined:
        kind = HTTPSConnection if self._url.scheme == "https" else HTTPConnection
        connection = kind(self._url.netloc, timeout=timeout_s)
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(key)}
        try:
            connection.request("POST", f"{self._url.path}/{what}", json.dumps(body), headers)
            response = connection.getresponse()
            if response.status == 402:
                return Declined()
            if response.status != 201:
                raise ProviderFailed(f"it answered {response.status}")
            return str(json.loads(response.read())["id"])
        finally:
            connection.close()
