"""Single answers of any HTTP service: whether they came, and whether errors are problem documents."""

from __future__ import annotations

from collections.abc import Iterable

from labkit.checks import CheckFailed, expect
from labkit.client import Exchange
from labkit.evidence import rows_of


def answered(exchanges: Iterable[Exchange], *, hint: str | None = None) -> list[Exchange]:
    """Every request got an HTTP answer within its time; else the check fails and says what came."""
    listed = list(exchanges)
    for exchange in listed:
        if exchange.failure is not None:
            raise CheckFailed(
                expected=f"an HTTP answer within {exchange.request.deadline_s:g} s",
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
