"""What a grader knows of one decision of a limiter, and what it says when a law is proven broken."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Outcome(StrEnum):
    """What the client learnt: let through, turned away, or neither (timed out, cut off)."""

    ADMITTED = "admitted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Decision:
    """One request of one client, decided at an unknown moment within [sent, received].

    sent      seconds on the grader's monotonic clock, just before the request left
    received  seconds on the same clock, just after its answer came. For UNKNOWN: the moment after
              which it cannot be decided any more (its process is dead), `math.inf` if there is none
    outcome   an answer that tells neither way, such as a 5xx, is UNKNOWN as well
    process   the instance that answered
    ref       whatever the caller wants to find the exchange by
    """

    sent: float
    received: float
    outcome: Outcome
    process: str = ""
    ref: object = None

    def __post_init__(self) -> None:
        if not self.sent <= self.received:
            raise ValueError(f"received at {self.received}, before it was sent at {self.sent}")

    @property
    def possibly_admitted(self) -> bool:
        return self.outcome is not Outcome.REJECTED


class Placed(Protocol):
    """Something that happened at an unknown moment within [sent, received]; `ref` finds the exchange."""

    @property
    def sent(self) -> float: ...

    @property
    def received(self) -> float: ...

    @property
    def ref(self) -> object: ...


@dataclass(frozen=True)
class Violation:
    """A law proven broken, wherever in their intervals the decisions fell.

    rule           the law with its numbers, in words for the learner
    expected       what the law allows, of the judged requests
    observed       what was recorded instead
    witness        the fewest decisions, reads or writes that prove it alone, in the order of their sending
    contradiction  the one of them at which the promise is first broken
    """

    rule: str
    expected: str
    observed: str
    witness: tuple[Placed, ...]
    contradiction: Placed | None


def admitted(decisions: Iterable[Decision]) -> list[Decision]:
    """Those that certainly were admitted."""
    return [decision for decision in decisions if decision.outcome is Outcome.ADMITTED]


def possibly_admitted(decisions: Iterable[Decision]) -> list[Decision]:
    """Those that were or may have been admitted."""
    return [decision for decision in decisions if decision.possibly_admitted]


def rejected(decisions: Iterable[Decision]) -> list[Decision]:
    return [decision for decision in decisions if decision.outcome is Outcome.REJECTED]


def in_order(decisions: Iterable[Decision]) -> tuple[Decision, ...]:
    return tuple(sorted(decisions, key=lambda decision: (decision.sent, decision.received)))


def spoken(seconds: float) -> str:
    """A length of time as a reader says it: "12 ms", "1.25 s"."""
    if not math.isfinite(seconds):
        return "ever"
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def budget(limit: int, window: float) -> str:
    """A limit as a reader says it: "10 per 2 s"."""
    return f"{limit} per {spoken(window)}"
