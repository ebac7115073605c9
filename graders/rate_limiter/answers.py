"""Single answers: whether they came, and what they have to look like."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from labkit import CheckFailed, Exchange, Inconclusive, Request, expect, rows_of, shortened

from .spent import TOO_BUSY, Spent

if TYPE_CHECKING:
    from .bench import Bench


def answered(exchanges: Iterable[Exchange], *, hint: str | None = None) -> list[Exchange]:
    """Every request got an HTTP answer within its time; else the check fails and says what came."""
    listed = list(exchanges)
    for exchange in listed:
        if exchange.failure is not None:
            raise CheckFailed(
                expected="an HTTP answer within 5 s",
                observed=exchange.failure,
                hint=hint,
                evidence=rows_of([exchange], mark=exchange),
                reading="Starting and stopping",
            )
    return listed


def is_problem(exchange: Exchange) -> None:
    """An error's body is application/problem+json with title and status (RFC 9457)."""
    body = exchange.json()
    body = body if isinstance(body, dict) else {}
    evidence = rows_of([exchange], mark=exchange)
    media_type = exchange.headers.get("content-type", "none").partition(";")[0].strip().lower()
    expect(
        media_type,
        equals="application/problem+json",
        unit=f"as the media type of a {exchange.status}",
        hints=[(bool, "every error is a problem document (RFC 9457), whoever answers it")],
        evidence=evidence,
        reading="The answers",
    )
    unit = f"as the member status in the body of a {exchange.status}"
    expect(body.get("status"), equals=exchange.status, unit=unit, evidence=evidence, reading="The answers")
    titled = isinstance(body.get("title"), str) and bool(body["title"])
    unit = "a title in the body of the problem"
    expect(
        "there is" if titled else "there is not",
        equals="there is",
        unit=unit,
        evidence=evidence,
        reading="The answers",
    )


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
