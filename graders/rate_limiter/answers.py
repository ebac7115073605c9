"""Single answers: whether they came, and what they have to look like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from labkit import CheckFailed, Exchange, Inconclusive, Request, expect, rows_of, shortened

from .spent import TOO_BUSY, Spent

if TYPE_CHECKING:
    from .bench import Bench


def expect_still_rejected(bench: Bench, request: Request, disguise: str) -> None:
    """`request` comes, in disguise, from a client that is over budget."""
    answer = bench.decided(bench.arena.send(request))
    expect(
        answer.status,
        equals=429,
        unit=f"for a client over budget that comes with {disguise}",
        hints={200: f"{disguise} makes a new client of it"},
        evidence=rows_of([answer], mark=answer),
        reading="Identity",
    )


def expect_no_new_client(bench: Bench, request: Request, disguise: str) -> None:
    """`request` comes from a client that is over budget, by a method that need not be offered at all.

    Whether 429 or "no such method" is said first is the service's own; what else it says must be about
    the spent budget.
    """
    answer = bench.ask(request)
    if bench.may_be_policy(answer):
        return
    expect(
        answer.status,
        one_of=(429, 404, 405, 501),
        unit=f"for a client over budget that comes with {disguise}",
        hints={200: f"{disguise} makes a new client of it"},
        evidence=rows_of([answer], mark=answer),
        reading="Identity",
        sure=not bench.looks_like_policy(answer),
    )


def nothing_rejected(bench: Bench, spent: Spent) -> Exception:
    """What to raise where a client over its limit was never rejected."""
    if any(map(bench.may_be_policy, spent.exchanges)):
        return Inconclusive(TOO_BUSY)
    return CheckFailed(
        expected=f"a 429 among {len(spent)} requests at once, with a limit of {bench.limit}",
        observed="none",
        hint="nothing is limited yet",
        evidence=shortened(rows_of(spent.exchanges)),
        reading="The answers",
    )


def retry_after(bench: Bench, answer: Exchange) -> int:
    """Retry-After of a 429 in seconds; fails the check if it is none that a client could follow."""
    text = answer.headers.get("retry-after", "")
    seconds = int(text) if text.isascii() and text.isdigit() else 0
    expect(
        seconds,
        one_of=range(1, bench.longest_retry_s + 1),
        unit="as Retry-After of a 429, in whole seconds",
        evidence=rows_of([answer], mark=answer),
        reading="Retry-After",
    )
    return seconds


def lawful_remaining(bench: Bench, exchanges: Sequence[Exchange], number: int) -> list[str]:
    """What X-RateLimit-Remaining may say on a fresh client's request `number`, counted from 1."""
    left = max(bench.limit - number, 0)
    elapsed = exchanges[number - 1].received - exchanges[0].sent
    regained, rounding = 0, 0
    if bench.algorithm == "token-bucket":
        # A bucket fills all the time, and one kept in floating point may round a whole token down.
        regained, rounding = math.ceil(bench.limit * elapsed / bench.window), 1
    lowest, highest = max(left - rounding, 0), min(left + regained, bench.limit)
    return [str(value) for value in range(lowest, highest + 1)]
