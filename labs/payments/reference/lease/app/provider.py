"""The payment provider: asked again with the same key until it has said what it did."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import aiohttp

from app.orders import PaymentOrder

logger = logging.getLogger(__name__)

# It may take 3 s to answer.
PATIENCE_S = 4.0
PAUSES_S = (0.1, 0.3)


class ProviderFailed(Exception):
    """It did not say whether it took the money. The same key may be asked with again."""


@dataclass(frozen=True)
class Declined:
    """The provider took nothing, and never will for this key."""


class Provider:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def charge(self, payment_id: UUID, order: PaymentOrder, *, until: float) -> str | Declined:
        """The charge's id. `until`: by the loop's clock. Raises ProviderFailed."""
        body = {
            "amount_cents": order.amount_cents,
            "currency": order.currency,
            "source": order.source,
            "reference": str(payment_id),
        }
        return await self._ask("charges", payment_id, body, until)

    async def refund(self, refund_id: UUID, charge_id: str, amount_cents: int, *, until: float) -> str:
        """The refund's id. Raises ProviderFailed."""
        body = {"charge_id": charge_id, "amount_cents": amount_cents}
        done = await self._ask("refunds", refund_id, body, until)
        if isinstance(done, Declined):
            raise ProviderFailed("it declined a refund")
        return done

    async def _ask(self, what: str, key: UUID, body: dict[str, Any], until: float) -> str | Declined:
        """A failed call may have done its work: the next one, with the same key, tells."""
        failure: Exception | None = None
        for pause_s in (0.0, *PAUSES_S):
            await asyncio.sleep(pause_s)
            try:
                async with asyncio.timeout_at(min(until, _now() + PATIENCE_S)):
                    return await self._call(what, key, body)
            except (ProviderFailed, aiohttp.ClientError, OSError) as error:
                failure = error
            if _now() >= until:
                break
        logger.warning("the provider fails: %s %s", type(failure).__name__, failure)
        raise ProviderFailed from failure

    async def _call(self, what: str, key: UUID, body: dict[str, Any]) -> str | Declined:
        headers = {"Idempotency-Key": str(key)}
        async with self._session.post(f"{self._url}/{what}", json=body, headers=headers) as response:
            if response.status == 402:
                return Declined()
            if response.status != 201:
                raise ProviderFailed(f"it answered {response.status}")
            return str((await response.json())["id"])


def _now() -> float:
    return asyncio.get_running_loop().time()
