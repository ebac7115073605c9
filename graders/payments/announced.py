"""Laws of events: every success announced, nothing else, and the same three times counted.

All are pure, and give the first breach or None. They judge what has settled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .orders import Order
from .settled import Breach, Settled, order_of, total
from .topic import Record

SUCCEEDED = "payment.succeeded"
REFUNDED = "payment.refunded"
MEMBERS = ("event_id", "type", "payment_id", "merchant_id", "order_id", "amount_cents", "currency")


@dataclass(frozen=True)
class Event:
    """What a record says, but for its id."""

    type: object
    payment_id: object
    merchant_id: object
    order_id: object
    amount_cents: object
    currency: object

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Event:
        type, payment_id, *rest = (_plain(value.get(name)) for name in MEMBERS[1:])
        return cls(type, str(payment_id), *rest)


def expected_events(settled: Settled) -> list[Event]:
    """One for each payment and each refund that was answered 201."""
    events = []
    for ended in settled.paid:
        order = order_of(ended.wish)
        amounts = [(REFUNDED, one.wish.amount_cents) for one in settled.refunds_of(order) if one.succeeded]
        for type, amount in [(SUCCEEDED, order.amount_cents), *amounts]:
            events.append(
                Event(type, str(ended.told.get("id")), order.merchant, order.order_id, amount, order.currency)
            )
    return events


def missing_events(settled: Settled) -> list[Event]:
    """What should have been announced and has not been."""
    came = Counter(Event.of(record.value) for record in _firsts(settled.records) if record.value)
    return list((Counter(expected_events(settled)) - came).elements())


def well_told(settled: Settled) -> Breach | None:
    """Each record is a JSON object with all members, under the payment's id as its key."""
    for record in settled.records:
        value = record.value
        if value is None:
            observed = record.data[:60].decode("utf-8", "replace")
            return Breach("a JSON object as the value of each record", observed or "nothing", "Events")
        missing = [name for name in MEMBERS if value.get(name) in (None, "")]
        if missing:
            return Breach(f"{missing[0]} in each event", f"none in {_brief(value)}", "Events")
        if record.key != str(value["payment_id"]):
            hint = "the key decides the partition, and only within one is there an order"
            expected = f"the payment's id {value['payment_id']!r} as the key of its record"
            return Breach(expected, repr(record.key), "Events", hint)
    return None


def repeats_are_identical(settled: Settled) -> Breach | None:
    """A record that comes again says the same, its event_id included."""
    first: dict[str, Record] = {}
    for record in settled.records:
        known = first.setdefault(str(record.told("event_id")), record)
        if (known.key, known.value) != (record.key, record.value):
            return Breach(
                expected=f"the record of {record.told('event_id')} as it was first: {_brief(known.value)}",
                observed=_brief(record.value),
                reading="The relay",
                hint="an event is made once, where the success is committed; the relay only carries it",
            )
    return None


def nothing_else_announced(settled: Settled) -> Breach | None:
    """No event but those of successes, and one id for each."""
    wanted, seen = Counter(expected_events(settled)), Counter[Event]()
    for record in _firsts(settled.records):
        event = Event.of(record.value or {})
        seen[event] += 1
        if not wanted[event]:
            near = next((one for one in wanted if _alike(one, event)), None)
            expected = f"an event that says {_tell(near)}" if near else "no event but those of successes"
            hint = None if near else "only what has been committed as a success is announced"
            return Breach(expected, _tell(event), "Events", hint, _wish_of(settled, event.order_id))
        if seen[event] > wanted[event]:
            return Breach(
                expected=f"one event_id for {_tell(event)}",
                observed=f"{seen[event]}",
                reading="The relay",
                hint="a consumer knows a repeated event by its id alone: keep it with the event",
                wish=_wish_of(settled, event.order_id),
            )
    return None


def in_order(settled: Settled) -> Breach | None:
    """Of one payment, its success is announced before its refunds: all on one partition, by now."""
    refunded: dict[str, Record] = {}
    begun: set[str] = set()
    for record in settled.records:
        payment = str(record.told("payment_id"))
        if record.told("type") == SUCCEEDED and payment not in begun:
            begun.add(payment)
            if payment in refunded:
                return Breach(
                    expected=f"{SUCCEEDED} before {REFUNDED} of the payment {payment}",
                    observed=f"at offset {record.offset}, after {refunded[payment].offset}",
                    reading="The relay",
                    hint="what belongs to one payment is sent in the order in which it was committed",
                    wish=_wish_of(settled, record.told("order_id")),
                )
        elif record.told("type") == REFUNDED:
            refunded.setdefault(payment, record)
    return None


def on_one_partition(settled: Settled) -> Breach | None:
    """All that is told of one payment is on one partition: elsewhere no order holds."""
    places: dict[str, int] = {}
    for record in settled.records:
        place = places.setdefault(str(record.told("payment_id")), record.partition)
        if record.partition != place:
            return Breach(
                expected=f"all events of the payment {record.told('payment_id')} on one partition",
                observed=f"on the partitions {place} and {record.partition}",
                reading="Events",
                hint="the key decides the partition: leave that to your client",
                wish=_wish_of(settled, record.told("order_id")),
            )
    return None


@dataclass(frozen=True)
class Totals:
    """Cents taken less cents given back, as each of the three tells it."""

    provider: int
    answers: int
    events: int


def totals(settled: Settled) -> Totals:
    """What conservation compares."""
    events = [Event.of(record.value) for record in _firsts(settled.records) if record.value]
    return Totals(
        provider=total(charge.amount_cents for charge in settled.charges)
        - total(refund.amount_cents for refund in settled.given_back),
        answers=total(shown.get("amount_cents") for shown in settled.shown.values())
        - total(shown.get("refunded_cents") for shown in settled.shown.values()),
        events=total(event.amount_cents for event in events if event.type == SUCCEEDED)
        - total(event.amount_cents for event in events if event.type == REFUNDED),
    )


def conserved(settled: Settled) -> Breach | None:
    """Charges minus refunds are the same at the provider, in the API and from the events."""
    found = totals(settled)
    if found.provider == found.answers == found.events:
        return None
    expected = f"{found.provider} cents, the provider's charges less refunds, everywhere"
    return Breach(expected, f"{found.answers} in the API, {found.events} from the events", "The laws")


ANNOUNCED = (
    well_told,
    repeats_are_identical,
    nothing_else_announced,
    on_one_partition,
    in_order,
    conserved,
)


def _firsts(records: Iterable[Record]) -> list[Record]:
    """One record an event_id."""
    found: dict[str, Record] = {}
    for record in records:
        found.setdefault(str(record.told("event_id")), record)
    return list(found.values())


def _wish_of(settled: Settled, order_id: object) -> Order | None:
    orders = (order_of(ended.wish) for ended in settled.orders)
    return next((order for order in orders if order.order_id == order_id), None)


def _alike(one: Event, other: Event) -> bool:
    """Whether they may be meant as the same event, one of them wrong."""
    return one.type == other.type and one.payment_id == other.payment_id


def _plain(value: object) -> object:
    """Hashable, and never 1 for true."""
    return value if isinstance(value, str | int) and not isinstance(value, bool) else repr(value)


def _tell(event: Event | None) -> str:
    assert event is not None
    where = f"payment {event.payment_id}, order {event.order_id}, merchant {event.merchant_id}"
    return f"{event.type}: {event.amount_cents} {event.currency}, {where}"


def _brief(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return "no JSON object"
    return ", ".join(f"{name} {value[name]}" for name in MEMBERS if name in value)[:200]
