"""The boundaries of a payment at Postgres: its statements, told apart from what its process does anyway.

Statements differ by design, so they are found by letting payments run undisturbed. A boundary is the
n-th execution of a statement since the payment began; numbers in a text do not matter. The end of a
transaction is known by its last step, so that it is not counted with those of others beside it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from labkit import Statement

LONGEST_SHOWN = 60
_NUMBER = re.compile(r"\b\d+\b")
_BEGINS = re.compile(r"(BEGIN|START|SAVEPOINT|RELEASE|SET|SHOW|LISTEN|UNLISTEN|DISCARD|DEALLOCATE)\b", re.I)
_ENDS = re.compile(r"(COMMIT|END|ROLLBACK|ABORT)\b", re.I)


@dataclass(frozen=True)
class Boundary:
    """The n-th execution of a statement within one payment."""

    text: str
    nth: int

    def __str__(self) -> str:
        text = self.text if len(self.text) <= LONGEST_SHOWN else f"{self.text[:LONGEST_SHOWN]}…"
        return text if self.nth == 1 else f"{text} ({self.nth})"


class Reader:
    """Takes the statements of one process, in order, and says which boundary of a payment each is.

    idle  texts of what the process asks while nobody pays
    """

    def __init__(self, idle: Iterable[str]) -> None:
        self._idle = frozenset(idle)
        self._seen: Counter[str] = Counter()
        self._last_steps: dict[int, str] = {}

    def boundary_of(self, statement: Statement) -> Boundary | None:
        """None for what is no step of a payment: it begins a transaction, or is said while nobody pays."""
        text = self._step_of(statement)
        if text is None:
            return None
        self._seen[text] += 1
        return Boundary(text, self._seen[text])

    def _step_of(self, statement: Statement) -> str | None:
        text = bare(statement)
        if not text or _BEGINS.match(text):
            if not statement.in_transaction:
                self._last_steps.pop(statement.connection, None)
            return None
        if _ENDS.match(text):
            last = self._last_steps.pop(statement.connection, None)
            return None if last is None else f"{text} of {last}"
        if text in self._idle:
            return None
        if statement.in_transaction:
            self._last_steps[statement.connection] = text
        return text


def bare(statement: Statement) -> str:
    """Its text as it is compared."""
    return _NUMBER.sub("0", " ".join(statement.text.split()))


def boundaries_in(statements: Iterable[Statement], idle: Iterable[str]) -> list[Boundary]:
    """Those of one payment, whose statements these are."""
    reader = Reader(idle)
    return [found for statement in statements if (found := reader.boundary_of(statement)) is not None]


def reaches(wanted: Boundary, idle: Iterable[str]) -> Callable[[Statement], bool]:
    """A predicate for the statements from the beginning of a payment on: whether it is at the boundary."""
    reader = Reader(idle)
    return lambda statement: reader.boundary_of(statement) == wanted


def next_commit(idle: Iterable[str], *, nth: int = 1) -> Callable[[Statement], bool]:
    """A predicate that finds the n-th statement from now on by which something of a payment is kept."""
    reader = Reader(idle)
    found = 0

    def matches(statement: Statement) -> bool:
        nonlocal found
        if reader.boundary_of(statement) is None or not statement.commits:
            return False
        found += 1
        return found == nth

    return matches
