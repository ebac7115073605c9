"""Laws of money: what the service answers and shows, and what the provider's ledger says.

All are pure, and give the first breach or None. They judge what has settled.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from labkit import Exchange

from .orders import json_of
from .provider import Charge, Refunded
from .settled import Breach, Ended, Settled, order_of, total

# What GET shows as the first answer did; the rest changes, or is the service's own.
KEPT = ("id", "order_id", "amount_cents", "currency", "charge_id")


def one_answer(settled: Settled) -> Breach | None:
    """A key ends once: all its answers are equal."""
    for ended in (*settled.orders, *settled.refunds):
        for other in ended.answers[1:]:
            first = ended.answers[0]
            if (other.status, other.json()) != (first.status, first.json()):
                return Breach(
                    expected=f"the first answer again: {_said(first)}",
                    observed=_said(other),
                    reading="Keys",
                    hint="two requests with one key were two requests to the service",
                    wish=ended.wish,
                )
    return None


def one_charge(settled: Settled) -> Breach | None:
    """For one merchant and key the provider performs at most one charge; a payment is one exactly."""
    charges = _by_source(settled.charges)
    for ended in settled.orders:
        order = order_of(ended.wish)
        found = charges.pop(order.source, [])
        if len(found) > 1:
            keys = len({charge.key for charge in found})
            return Breach(
                expected="one charge at the provider",
                observed=f"{len(found)}",
                reading="The provider",
                hint=f"the provider was asked under {keys} keys: it can tell a repeat only by its key",
                wish=order,
            )
        if (breach := _is_true(ended, found)) is not None:
            return breach
    if charges:
        source, found = next(iter(charges.items()))
        return Breach(
            expected="no charge for what was refused",
            observed=f"{len(found)} of the source {source}",
            reading="Keys",
            hint="nothing may be done before the request has been found right",
        )
    return None


def _is_true(ended: Ended, found: Sequence[Charge]) -> Breach | None:
    order = order_of(ended.wish)
    if ended.succeeded and not found:
        return Breach("one charge at the provider for a 201", "none", "The provider", wish=order)
    if not ended.succeeded and found:
        hint = "a provider that does not answer has not declined: ask again, under the same key"
        observed = f"{found[0].id} of {found[0].amount_cents} {found[0].currency}"
        return Breach(
            "no charge for a payment that ended 402", observed, "When the provider fails", hint, order
        )
    for charge in found:
        taken = (charge.amount_cents, charge.currency)
        if taken != (order.amount_cents, order.currency):
            expected = f"{order.amount_cents} {order.currency} charged"
            return Breach(expected, f"{taken[0]} {taken[1]}", "The provider", wish=order)
        if ended.told.get("charge_id") != charge.id:
            observed = f"charge_id {ended.told.get('charge_id')!r}"
            return Breach(f"charge_id {charge.id!r}, the provider's", observed, "The answers", wish=order)
    return None


def no_refund_beyond(settled: Settled) -> Breach | None:
    """Refunds at the provider are never more than the payment, and are those that were answered 201."""
    given = _by_source(settled.given_back)
    for ended in settled.orders:
        order = order_of(ended.wish)
        amounts = [refund.amount_cents for refund in given.get(order.source, [])]
        wanted = [one.wish.amount_cents for one in settled.refunds_of(order) if one.succeeded]
        if total(amounts) > order.amount_cents:
            return Breach(
                expected=f"at most {order.amount_cents} refunded by the provider",
                observed=f"{total(amounts)}, in {len(amounts)} refunds",
                reading="Refunds",
                hint="look and write in one step: what is being refunded is no longer left",
                wish=order,
            )
        if Counter(map(str, amounts)) != Counter(map(str, wanted)):
            return Breach(
                expected=f"refunds at the provider as they were answered 201: {_list(wanted)}",
                observed=_list(amounts),
                reading="Refunds",
                hint=_refund_hint(amounts, wanted),
                wish=order,
            )
    return None


def _refund_hint(amounts: Sequence[object], wanted: Sequence[object]) -> str:
    if len(amounts) > len(wanted):
        return "a refund was asked for again under another key"
    return "each refund needs a key of its own at the provider, and has to reach it"


def shown_as_taken(settled: Settled) -> Breach | None:
    """GET shows each payment as it was answered, and what of it is refunded."""
    for ended in settled.paid:
        order = order_of(ended.wish)
        shown = settled.shown.get(str(ended.told.get("id")), {})
        refunded = sum(one.wish.amount_cents for one in settled.refunds_of(order) if one.succeeded)
        told = {name: ended.told.get(name) for name in KEPT}
        wanted = {**told, "refunded_cents": refunded, "status": "succeeded"}
        wrong = [name for name, value in wanted.items() if not same(shown.get(name), value)]
        if wrong:
            name = wrong[0]
            expected = f"{name}: {wanted[name]!r} in the answer to GET {order.path}/{ended.told.get('id')}"
            return Breach(expected, f"{name}: {shown.get(name)!r}", "The answers", wish=order)
    return None


MONEY = (one_answer, one_charge, no_refund_beyond, shown_as_taken)


def same(one: object, other: object) -> bool:
    """Equal as JSON: true is not 1."""
    return one == other and isinstance(one, bool) is isinstance(other, bool)


def _by_source(rows: Iterable[Any]) -> dict[object, list[Any]]:
    found: dict[object, list[Any]] = defaultdict(list)
    for row in rows:
        found[row.charge.source if isinstance(row, Refunded) else row.source].append(row)
    return found


def _list(amounts: Sequence[object]) -> str:
    return ", ".join(map(str, amounts)) or "none"


def _said(exchange: Exchange) -> str:
    body = json_of(exchange)
    told = [f"{name} {body[name]}" for name in ("id", "status") if name in body]
    return ", ".join([str(exchange.status), *told])
