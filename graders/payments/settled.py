"""What is known of a check's payments when nothing is under way any more, and what a breach of a law says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labkit import Exchange

from .orders import Order, Refund, Wish, json_of
from .provider import Charge, Refunded
from .topic import Record


@dataclass(frozen=True)
class Breach:
    """A law that is broken: what has to be and what is, and which wish shows it."""

    expected: str
    observed: str
    reading: str
    hint: str | None = None
    wish: Wish | None = None


@dataclass(frozen=True)
class Ended:
    """What was asked under one key, and all answers that ended it: 201, 402, and 409 for a refund."""

    wish: Wish
    answers: Sequence[Exchange]

    @property
    def succeeded(self) -> bool:
        return any(answer.status == 201 for answer in self.answers)

    @property
    def told(self) -> Mapping[str, Any]:
        """The first answer's body."""
        return json_of(self.answers[0]) if self.answers else {}


@dataclass(frozen=True)
class Settled:
    """All that is known of one check's payments when nothing is under way any more."""

    orders: Sequence[Ended]
    refunds: Sequence[Ended]
    charges: Sequence[Charge]
    given_back: Sequence[Refunded]
    shown: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    records: Sequence[Record] = ()

    def refunds_of(self, order: Order) -> list[Ended]:
        return [one for one in self.refunds if isinstance(one.wish, Refund) and one.wish.order == order]

    @property
    def paid(self) -> list[Ended]:
        return [one for one in self.orders if one.succeeded]


def order_of(wish: Wish) -> Order:
    """What was paid, or was to be."""
    return wish.order if isinstance(wish, Refund) else wish


def total(amounts: Iterable[object]) -> int:
    """Their sum; what is no amount counts for nothing."""
    return sum(amount for amount in amounts if isinstance(amount, int))
