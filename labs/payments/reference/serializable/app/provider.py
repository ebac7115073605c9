"""The payment provider: asked with the same key until it has said what it did."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from uuid import UUID

import urllib3
from urllib3.exceptions import HTTPError

logger = logging.getLogger(__name__)

# It may take 3 s to answer.
PATIENCE_S = 4.0
PAUSES_S = (0.0, 0.1, 0.4)


class ProviderFailed(Exception):
    """It did not say whether it took the money. The same key may be asked with again."""


@dataclass(frozen=True)
class Declined:
    """The provider took nothing, and never will for this key."""


class Provider:
    """`until` is by time.monotonic; safe to use from many threads."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._pool = urllib3.PoolManager(maxsize=100, retries=False)

    def charge(
        self, id_: UUID, *, amount_cents: int, currency: str, source: str, until: float
    ) -> str | Declined:
        """The charge's id. Raises ProviderFailed."""
        body = {"amount_cents": amount_cents, "currency": currency, "source": source, "reference": str(id_)}
        return self._ask("charges", id_, body, until)

    def refund(self, id_: UUID, *, charge_id: str, amount_cents: int, until: float) -> str:
        """The refund's id. Raises ProviderFailed."""
        done = self._ask("refunds", id_, {"charge_id": charge_id, "amount_cents": amount_cents}, until)
        if isinstance(done, Declined):
            raise ProviderFailed("it declined a refund")
        return done

    def _ask(self, what: str, id_: UUID, body: dict[str, object], until: float) -> str | Declined:
        """A failed call may have done its work: the next one, with the same key, tells."""
        failure: Exception | None = None
        for pause_s in PAUSES_S:
            time.sleep(pause_s)
            left_s = min(until - time.monotonic(), PATIENCE_S)
            if left_s <= 0:
                break
            try:
                return self._call(what, id_, body, left_s)
            except (ProviderFailed, HTTPError, OSError, ValueError, LookupError) as error:
                failure = error
        logger.warning("the provider fails: %s %s", type(failure).__name__, failure)
        raise ProviderFailed from failure

    def _call(self, what: str, id_: UUID, body: dict[str, object], timeout_s: float) -> str | Declined:
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(id_)}
        timeout = urllib3.Timeout(total=timeout_s)
        response = self._pool.request(
            "POST", f"{self._url}/{what}", json=body, headers=headers, timeout=timeout
        )
        if response.status == 402:
            return Declined()
        if response.status != 201:
            raise ProviderFailed(f"it answered {response.status}")
        return str(response.json()["id"])
