"""What is asked of the service: payments of orders, and refunds of payments."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labkit import Exchange, Request

# A POST may take as long as its provider and more.
POST_WITHIN_S = 10.0
# So much of an answer's time a starved machine may explain, where a service is to be told from it.
GRACE_S = 6.0
PAYMENTS = "/payments"


@dataclass(frozen=True)
class Order:
    """A payment to be taken, under a key of its merchant's."""

    merchant: str
    key: str
    order_id: str
    amount_cents: int
    currency: str
    source: str

    path = PAYMENTS

    @property
    def body(self) -> dict[str, Any]:
        return {
            "order_id": self.order_id,
            "amount_cents": self.amount_cents,
            "currency": self.currency,
            "source": self.source,
        }


@dataclass(frozen=True)
class Refund:
    """A refund of a payment, under a key of its merchant's; `order` is what was paid."""

    order: Order
    payment_id: str
    key: str
    amount_cents: int

    @property
    def merchant(self) -> str:
        return self.order.merchant

    @property
    def path(self) -> str:
        return f"{PAYMENTS}/{self.payment_id}/refunds"

    @property
    def body(self) -> dict[str, Any]:
        return {"amount_cents": self.amount_cents}


Wish = Order | Refund


class Wishes:
    """Makes orders that nobody else has: fresh merchants, keys and sources, the same for the same seed."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.mark = self.word(8)
        self._count = 0

    def word(self, length: int) -> str:
        return "".join(self._chance.choices(string.ascii_lowercase + string.digits, k=length))

    def merchant(self) -> str:
        self._count += 1
        return f"m-{self.mark}-{self._count}"

    def key(self) -> str:
        self._count += 1
        return f"key-{self.mark}-{self._count}"

    def order(self, **given: Any) -> Order:
        """An order with whatever is given, and the rest drawn."""
        self._count += 1
        drawn: dict[str, Any] = {
            "merchant": f"m-{self.mark}",
            "key": f"key-{self.mark}-{self._count}",
            "order_id": f"order-{self.mark}-{self._count}",
            "amount_cents": self._chance.randrange(100, 100_000),
            "currency": self._chance.choice(("EUR", "PLN", "SEK", "USD")),
            "source": f"tok-{self.mark}-{self._count}",
        }
        return Order(**{**drawn, **given})

    def is_ours(self, source: object) -> bool:
        """Whether a source is one of these orders'."""
        return isinstance(source, str) and source.startswith(f"tok-{self.mark}-")


def post(wish: Wish, process: str, *, body: object = None, **headers: str | None) -> Request:
    """A request for it.

    `body` stands in place of its own, as it is if it is bytes; so do headers, which None leaves out.
    """
    sent: dict[str, str | None] = {
        "Content-Type": "application/json",
        "X-Merchant-Id": wish.merchant,
        "Idempotency-Key": wish.key,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    data = body if isinstance(body, bytes) else json.dumps(wish.body if body is None else body).encode()
    named = {name: value for name, value in sent.items() if value is not None}
    return Request(process, wish.path, "POST", named, data, deadline_s=POST_WITHIN_S)


def read(merchant: str, payment_id: str, process: str) -> Request:
    return Request(process, f"{PAYMENTS}/{payment_id}", headers={"X-Merchant-Id": merchant})


def json_of(exchange: Exchange) -> Mapping[str, Any]:
    """The body of an answer if it is an object, else an empty one."""
    body = exchange.json()
    return body if isinstance(body, dict) else {}


def is_replay(exchange: Exchange) -> bool:
    return exchange.headers.get("idempotent-replayed", "").strip().lower() == "true"
