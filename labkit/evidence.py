"""History as rows that a person reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labkit.client import Exchange
from labkit.result import EvidenceRow

_MOST_ROWS = 14
_SHOWN_HEADERS = ("retry-after", "x-ratelimit-remaining", "x-cache", "location")
_LONGEST_VALUE = 40


def rows_of(exchanges: Iterable[Exchange], *, mark: Exchange | None = None) -> list[EvidenceRow]:
    """One row an exchange, on the grading's clock; `mark` is the one that breaks the promise."""
    return [_row(exchange, marked=exchange is mark) for exchange in exchanges]


def shortened(rows: Sequence[EvidenceRow], most: int = _MOST_ROWS) -> list[EvidenceRow]:
    """At most about `most` rows: the beginning, what is around the mark, and how many were left out."""
    if len(rows) <= most:
        return list(rows)
    marked = next((place for place, row in enumerate(rows) if row.mark), len(rows) - 1)
    head = set(range(most // 2))
    around = set(range(max(marked - most // 4, 0), min(marked + most // 4, len(rows))))
    shown = sorted(head | around)
    result: list[EvidenceRow] = []
    for before, place in zip([-1, *shown], shown, strict=False):
        if place > before + 1:
            result.append(_left_out(rows[before + 1 : place]))
        result.append(rows[place])
    if shown[-1] < len(rows) - 1:
        result.append(_left_out(rows[shown[-1] + 1 :]))
    return result


def _left_out(rows: Sequence[EvidenceRow]) -> EvidenceRow:
    return EvidenceRow(at=rows[0].at, who="", what=f"… {len(rows)} more")


def _row(exchange: Exchange, *, marked: bool) -> EvidenceRow:
    request = exchange.request
    headers = "".join(f"  {name}: {_cut(value)}" for name, value in request.headers.items())
    return EvidenceRow(
        at=round(exchange.sent, 3),
        who=request.process,
        what=f"{request.method} {request.path}{headers}",
        answer=_answer(exchange),
        mark=marked,
    )


def _answer(exchange: Exchange) -> str:
    if exchange.failure is not None:
        return exchange.failure
    shown = [f"{name}: {_cut(exchange.headers[name])}" for name in _SHOWN_HEADERS if name in exchange.headers]
    took = (
        f"after {exchange.received - exchange.sent:.2f} s" if exchange.received - exchange.sent > 0.5 else ""
    )
    return "  ".join(filter(None, [str(exchange.status), *shown, took]))


def _cut(value: str) -> str:
    return value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}… ({len(value)} characters)"
