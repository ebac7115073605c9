"""The end of every scenario: all keys have ended, and provider, API and events tell the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from typing import TYPE_CHECKING

from labkit import CheckFailed, Exchange, Inconclusive, Request

from .announced import ANNOUNCED, REFUNDED, SUCCEEDED, Event, missing_events
from .laws import MONEY
from .orders import Order, Refund, Wish, json_of, read
from .settled import Breach, Ended, Settled
from .settling import is_end, settle, wait_until

if TYPE_CHECKING:
    from .bench import Bench

# The contract's 10 s, and room: nobody loses an event by a moment.
ANNOUNCED_WITHIN_S = 12.0
# A service that has announced nothing by then, in an arena full of payments, has no events yet.
BEGUN_WITHIN_S = 4.0
RECOVERS_WITHIN_S = 5.0
PROBES, PROBES_EVERY_S = 3, 8.0
LOST = "no event came; whatever was committed as a success is announced sooner or later"


def expect_conserved(
    bench: Bench,
    *,
    reading: str = "The laws",
    hint: str | None = None,
    must_announce: bool | None = None,
) -> None:
    """Retry every key of this check to its end, then hold all laws against what has settled.

    `reading` and `hint` are for a key that does not end, or an event that does not come. A service that
    announces nothing at all yet is told so where it has to: by default, where the arena is broken.
    """
    strict = bench.arena.setup.exclusive if must_announce is None else must_announce
    settle(bench, bench.wishes_asked(), reading=reading)
    settled = _told(bench)
    _obey(bench, settled, MONEY)
    if not strict and not wait_until(bench, lambda: bool(bench.topic.records()), within=BEGUN_WITHIN_S):
        return
    settled = _announced(bench, settled, reading=reading, hint=hint)
    _obey(bench, settled, ANNOUNCED)


def expect_announced(bench: Bench, *wishes: Wish, within: float) -> bool:
    """Whether each comes on the topic within so many seconds."""

    def came() -> bool:
        seen = {(record.told("type"), record.told("order_id")) for record in bench.topic.records()}
        return all(_names(wish) in seen for wish in wishes)

    return wait_until(bench, came, within=within)


def _names(wish: Wish) -> tuple[str, str]:
    """What the record of an order's success, or of its refund, is known by."""
    return (REFUNDED, wish.order.order_id) if isinstance(wish, Refund) else (SUCCEEDED, wish.order_id)


def _told(bench: Bench) -> Settled:
    """What the provider's ledger says, and what the service answered and shows."""
    orders: list[Ended] = []
    refunds: list[Ended] = []
    for wish in bench.wishes_asked():
        ends = [answer for answer in bench.answers_to(wish) if is_end(wish, answer)]
        (refunds if isinstance(wish, Refund) else orders).append(Ended(wish, ends))
    return Settled(
        orders=orders,
        refunds=refunds,
        charges=[charge for charge in list(bench.provider.charges) if bench.is_ours(charge.source)],
        given_back=[refund for refund in list(bench.provider.refunds) if bench.is_ours(refund.charge.source)],
        shown=_shown(bench, orders),
    )


def _shown(bench: Bench, orders: list[Ended]) -> dict[str, dict[str, object]]:
    """Payment id -> what some replica answers to its GET."""
    replicas = cycle(bench.replicas)
    shown = {}
    for ended in orders:
        id = str(ended.told.get("id"))
        if ended.succeeded:
            shown[id] = dict(json_of(_read(bench, ended.wish, id, next(replicas))))
    return shown


def _read(bench: Bench, wish: Wish, id: str, process: str) -> Exchange:
    """GET a payment; what is left of an outage may fail a few times."""
    request = read(wish.merchant, id, process)

    answer = bench.ask(request)

    def answers() -> bool:
        nonlocal answer
        answer = bench.ask(request)
        return answer.status is not None and answer.status < 500

    if answer.status is None or answer.status >= 500:
        wait_until(bench, answers, within=RECOVERS_WITHIN_S)
    bench.has_status(answer, 200, reading="The answers", about=wish)
    return answer


def _obey(bench: Bench, settled: Settled, laws: tuple[object, ...]) -> None:
    for law in laws:
        breach: Breach | None = law(settled)  # type: ignore[operator]
        if breach is not None:
            raise CheckFailed(
                expected=breach.expected,
                observed=breach.observed,
                hint=breach.hint,
                evidence=bench.story(breach.wish),
                reading=breach.reading,
                # What has settled was not hurried by anybody.
                sure=True,
            )


def _announced(bench: Bench, settled: Settled, *, reading: str, hint: str | None) -> Settled:
    """With the events, as soon as none is missing. Fails the check if one does not come."""

    def all_came() -> bool:
        bench.seen(bench.arena.send(Request(bench.replicas[0], "/healthz")))  # tells whether it is starved
        return not missing_events(with_records(bench, settled))

    if not wait_until(bench, all_came, within=ANNOUNCED_WITHIN_S):
        found = with_records(bench, settled)
        _lost(bench, missing_events(found)[0], found, reading=reading, hint=hint)
    return with_records(bench, settled)


def _lost(bench: Bench, event: Event, settled: Settled, *, reading: str, hint: str | None) -> None:
    """Fail the check for an event that did not come; a record that is nearly that event tells more."""
    for law in ANNOUNCED[:3]:
        breach = law(settled)
        if breach is not None:
            _obey(bench, settled, (law,))
    bench.expect_broker()
    overtaken = bench.starved and _is_overtaken(bench)
    order = next((wish for wish in bench.wishes_asked() if _is_about(wish, event)), None)
    raise CheckFailed(
        expected=f"{event.type} of {event.amount_cents} {event.currency} for the payment {event.payment_id}"
        f" on the topic within 10 s",
        observed=f"none in {ANNOUNCED_WITHIN_S:g} s",
        hint=hint or LOST,
        evidence=bench.story(order),
        reading="Events" if reading == "The laws" else reading,
        sure=overtaken and event in missing_events(with_records(bench, settled)),
    )


def _is_overtaken(bench: Bench) -> bool:
    """Whether payments of now are announced, one after another, and what is missing still is not.

    Then it is not late for want of processors: nobody holds on to it for so long.
    """
    for _ in range(PROBES):
        bench.arena.sleep(PROBES_EVERY_S)
        probe = bench.lone_order()
        bench.settle([probe], reading="Events")
        if not bench.expect_announced(probe, within=ANNOUNCED_WITHIN_S):
            return False
    return True


def _is_about(wish: object, event: Event) -> bool:
    return isinstance(wish, Order) and wish.order_id == event.order_id


def with_records(bench: Bench, settled: Settled) -> Settled:
    """The same, with the records that are about this check's payments by now, or claim to be."""
    ids = set(settled.shown)
    records = [
        record
        for record in bench.topic.records()
        if bench.wishes.mark.encode() in record.data
        or record.key in ids
        or str(record.told("payment_id")) in ids
    ]
    return replace(settled, records=records)


def expect_broker(bench: Bench) -> None:
    """Raises Inconclusive where the grader itself cannot read the topic."""
    if not bench.topic.is_readable():
        raise Inconclusive("the grader cannot read the topic of events: is Kafka gone?")
