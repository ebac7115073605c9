"""Requests of one client, and what their answers say of the limiter's decisions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labkit import Exchange
from labkit.history import Decision, Outcome

# An answer that took this long may hide a second try.
SLOW_S = 0.3
TOO_BUSY = "the machine was so busy that the service may have taken its slowness for an outage of Redis"


@dataclass(frozen=True)
class Spent:
    """Requests of one client and their answers, in the order of sending.

    doubtful  whether an answer may come from the outage policy, though Redis was up
    """

    exchanges: Sequence[Exchange]
    doubtful: Callable[[Exchange], bool]

    @property
    def decisions(self) -> list[Decision]:
        return [_decision(exchange, self.doubtful(exchange)) for exchange in self.exchanges]

    @property
    def admitted(self) -> int:
        """Those that were certainly admitted within the budget."""
        return sum(decision.outcome is Outcome.ADMITTED for decision in self.decisions)

    @property
    def rejected(self) -> list[Exchange]:
        return [exchange for exchange in self.exchanges if exchange.status == 429]

    @property
    def ended(self) -> float:
        """When the last answer came, on the clock."""
        return max(exchange.received for exchange in self.exchanges)

    def __len__(self) -> int:
        return len(self.exchanges)

    def __add__(self, later: Spent) -> Spent:
        return Spent([*self.exchanges, *later.exchanges], self.doubtful)


def looks_like_policy(exchange: Exchange, policy: str, limit: int) -> bool:
    """Whether an answer may come from the outage policy: one by the limiter counts what is left."""
    if policy == "closed":
        return exchange.status == 503
    left = exchange.headers.get("x-ratelimit-remaining")
    return exchange.status == 200 and (left in (None, str(limit)) or (exchange.starved and left == "0"))


def _decision(exchange: Exchange, unknown: bool) -> Decision:
    outcomes = {200: Outcome.ADMITTED, 429: Outcome.REJECTED}
    outcome = Outcome.UNKNOWN if unknown else outcomes.get(exchange.status or 0, Outcome.UNKNOWN)
    # What was not answered may still be decided at any later time.
    received = exchange.received if exchange.failure is None else math.inf
    return Decision(exchange.sent, received, outcome, process=exchange.request.process, ref=exchange)
