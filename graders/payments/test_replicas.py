"""Stage replicas: many replicas, one truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit import check

if TYPE_CHECKING:
    from .bench import Bench

TAKEN = "a-payment-is-taken"
REFUNDS = "a-refund-is-taken"


@check(points=2, kills=["keys-in-memory"], arena="calm", needs=REFUNDS)
def test_replicas_share_their_keys(bench: Bench) -> None:
    """What was paid and refunded at one replica is replayed and shown by all others, and refunded there."""
    for home in bench.replicas:
        order = bench.order(amount_cents=900)
        first = bench.post(order, home)
        bench.has_status(first, 201, reading="Replicas", about=order)
        id = bench.id_of(order, first)
        refund = bench.refund_of(order, id, 300)
        refunded = bench.refund(refund, home)
        for other in bench.replicas:
            hint = "what a replica keeps for itself the others do not know"
            again = bench.post(order, other)
            bench.replays(again, first, about=order, reading="Replicas", hint=hint)
            again = bench.post(refund, other)
            bench.replays(again, refunded, about=refund, reading="Replicas", hint=hint)
            bench.shows_payment(bench.read(order, id, other), order, refunded=300)
    bench.expect_conserved(reading="Replicas")


@check(
    points=2,
    kills=["keys-in-memory", "a-fresh-provider-key-for-each-call"],
    arena="outage",
    needs=REFUNDS,
)
def test_a_history_of_payments_is_conserved(bench: Bench) -> None:
    """Payments, refunds, repeats from all sides, a failing provider, a lost replica: all laws hold."""
    bench.random_history()
    bench.arena.heal()

    bench.expect_conserved(reading="The laws")
