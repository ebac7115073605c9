"""What the answers of this lab have to say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit import CheckFailed, Exchange, expect

from .laws import same
from .orders import PAYMENTS, Order, Refund, Wish, is_replay, json_of

if TYPE_CHECKING:
    from .bench import Bench


def tells(
    bench: Bench, exchange: Exchange, members: dict[str, object], *, reading: str, about: Wish, hint: str = ""
) -> None:
    """The body is an object with these members."""
    body = json_of(exchange)
    for name, value in members.items():
        if not same(body.get(name), value):
            raise CheckFailed(
                expected=f"{name}: {value!r} in the body of the {exchange.status}",
                observed=f"{name}: {body[name]!r}" if name in body else f"no {name}",
                hint=hint or None,
                evidence=bench.story(about, exchange),
                reading=reading,
                sure=True,
            )


def shows_payment(bench: Bench, exchange: Exchange, order: Order, *, refunded: int = 0) -> None:
    """The answer is this order's payment, charged as the provider's ledger says."""
    bench.has_status(exchange, 200, 201, reading="The answers", about=order)
    bench.id_of(order, exchange)
    charges = bench.provider.charged(order.source)
    expect(
        len(charges),
        equals=1,
        unit="charges at the provider for a payment that was answered 201",
        evidence=lambda: bench.story(order, exchange),
        reading="The provider",
        sure=True,
    )
    members: dict[str, object] = {
        "order_id": order.order_id,
        "amount_cents": order.amount_cents,
        "currency": order.currency,
        "status": "succeeded",
        "charge_id": charges[0].id,
        "refunded_cents": refunded,
    }
    bench.tells(exchange, members, reading="The answers", about=order)


def is_located(bench: Bench, exchange: Exchange, order: Order) -> None:
    """Location leads to the payment, be it as a path or as a whole address."""
    location = exchange.headers.get("location", "")
    path = f"{PAYMENTS}/{bench.id_of(order, exchange)}"
    expect(
        location if not location.endswith(path) else path,
        equals=path,
        unit="as the end of Location",
        evidence=lambda: bench.story(order, exchange),
        reading="The answers",
        sure=True,
    )


def names_payment(bench: Bench, exchange: Exchange, refund: Refund) -> None:
    """The answer to a refund has an id of its own, and the payment's."""
    body = json_of(exchange)
    bench.id_of(refund.order, exchange)
    expect(
        str(body.get("payment_id")),
        equals=refund.payment_id,
        unit="as payment_id of a refund",
        evidence=lambda: bench.story(refund, exchange),
        reading="Refunds",
        sure=True,
    )


def expect_paid(bench: Bench, wish: Wish, *, reading: str, hint: str) -> None:
    """A payment or refund whose key has ended, and not in a refusal: that is no matter of speed."""
    ended = bench.has_ended(wish)
    bench.has_status(bench.end_of(wish), 201, reading=reading, hint=hint, about=wish, sure=ended)


def replays(
    bench: Bench, exchange: Exchange, first: Exchange, *, about: Wish, reading: str, hint: str
) -> None:
    """The first answer again: status, JSON, and the header that says so."""
    bench.has_status(exchange, first.status or 0, reading=reading, hint=hint, about=about)
    expect(
        exchange.json(),
        equals=first.json(),
        unit="as the body of a replay",
        hints=[(bool, hint)],
        evidence=lambda: bench.story(about, exchange),
        reading=reading,
        sure=True,
    )
    expect(
        "true" if is_replay(exchange) else exchange.headers.get("idempotent-replayed"),
        equals="true",
        unit="as Idempotent-Replayed of a replay",
        evidence=lambda: bench.story(about, exchange),
        reading=reading,
        sure=True,
    )


def nothing_charged(bench: Bench, *sources: str, reading: str, exchange: Exchange) -> None:
    """The provider has taken nothing from these sources."""
    found = [charge for source in sources for charge in bench.provider.charged(source)]
    expect(
        len(found),
        equals=0,
        unit=f"charges at the provider after the {exchange.status}",
        evidence=lambda: bench.evidence_of(exchange, None),
        reading=reading,
        sure=True,
    )
