"""The evidence of a failure: what was asked, what the provider was asked and did, what came on the topic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from labkit import EvidenceRow, Exchange, shortened

from .orders import Refund, Wish, is_replay, json_of
from .provider import Asked

if TYPE_CHECKING:
    from .bench import Bench

MOST_RECORDS = 6


def row_of(exchange: Exchange, *, marked: bool = False) -> EvidenceRow:
    """A request with its key, and what came of it."""
    request = exchange.request
    key = request.headers.get("Idempotency-Key")
    what = f"{request.method} {request.path}" + (f"  {_cut(key)}" if key is not None else "")
    return EvidenceRow(
        at=round(exchange.sent, 3), who=request.process, what=what, answer=_answer(exchange), mark=marked
    )


def call_row(call: Asked) -> EvidenceRow:
    """What the provider was asked, and did."""
    what = f"{call.process}: POST {call.path}  {_cut(call.key or 'without a key')}"
    return EvidenceRow(at=round(call.at, 3), who="provider", what=what, answer=call.said)


def story(bench: Bench, wish: Wish | None = None, marked: Exchange | None = None) -> list[EvidenceRow]:
    """What happened to a wish, or to all of this check's; then its records, and what its process wrote."""
    wishes = list(bench.wishes_asked()) if wish is None else [wish, *bench.kin_of(wish)]
    exchanges = [answer for one in wishes for answer in bench.answers_to(one)]
    if marked is not None and marked not in exchanges:
        exchanges.append(marked)
    sources = {one.order.source if isinstance(one, Refund) else one.source for one in wishes}
    rows = [row_of(exchange, marked=exchange is marked) for exchange in exchanges]
    rows += [call_row(call) for call in list(bench.provider.calls) if call.source in sources]
    if exchanges:
        begin, end = exchanges[0].sent - 0.05, max(exchange.received for exchange in exchanges)
        rows += bench.arena.timeline(min(begin, *(one.sent for one in exchanges)), end)
    rows = shortened(sorted(rows, key=lambda row: row.at or 0.0))
    return [*rows, *_records(bench, wishes), *_output(bench, exchanges, marked)]


def _records(bench: Bench, wishes: Iterable[Wish]) -> list[EvidenceRow]:
    orders = {one.order.order_id if isinstance(one, Refund) else one.order_id for one in wishes}
    rows = [
        EvidenceRow(
            at=None,
            who="topic",
            what=f"partition {record.partition}, offset {record.offset}: {record.told('type')}"
            f" {record.told('amount_cents')}, event_id {_cut(str(record.told('event_id')))}",
        )
        for record in bench.topic.records()
        if record.told("order_id") in orders
    ]
    return rows[:MOST_RECORDS]


def _output(bench: Bench, exchanges: Iterable[Exchange], marked: Exchange | None) -> list[EvidenceRow]:
    """The last lines of the process that answered worst: an error of its own says more than we can."""
    failed = [one for one in ([marked] if marked else exchanges) if (one.status or 500) >= 500]
    return bench.output(failed[-1].request.process) if failed else []


def _answer(exchange: Exchange) -> str:
    if exchange.failure is not None:
        return exchange.failure
    body = json_of(exchange)
    told = [str(body[name]) for name in ("id", "charge_id", "refunded_cents", "title") if name in body]
    took = exchange.received - exchange.sent
    after = [f"after {took:.2f} s"] if took > 0.5 else []
    return "  ".join([str(exchange.status), *told, *(["replayed"] if is_replay(exchange) else []), *after])


def _cut(text: str, most: int = 44) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"
