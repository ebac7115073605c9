"""Stage events: every success is announced, nothing else, and nothing is lost, skipped or changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit import Way, check

if TYPE_CHECKING:
    from .bench import Bench

TAKEN = "a-payment-is-taken"
ANNOUNCED = "a-success-is-announced"
SKIPPED = "ids are drawn before the COMMIT: a row with a smaller one may show later than its neighbours"
BEHIND = "what is marked as published has to be what was sent: nothing with a smaller id that has come since"
LOST = "an event is done with when Kafka has acknowledged it, and not before"


@check(
    points=2,
    kills=[
        "announces-declines",
        "record-key-is-the-order",
        "refund-event-with-the-payments-amount",
        "a-partition-for-each-record",
    ],
    arena="calm",
    needs=TAKEN,
)
def test_a_success_is_announced(bench: Bench) -> None:
    """Each success and each refund comes on the topic, under the payment's id; a decline does not."""
    declined = bench.order()
    bench.provider.decline(declined.source)
    bench.refused(bench.post(declined, "web-3"), 402, reading="The answers", about=declined)
    orders = [bench.order(amount_cents=1000) for _ in bench.replicas]
    refunds = [
        bench.refund_of(order, bench.pay(order, process), 250)
        for order, process in zip(orders, bench.replicas, strict=True)
    ]
    # Announced before there is a refund: in which order they come is the next check's.
    bench.expect_conserved(reading="Events", must_announce=True)
    for refund, process in zip(refunds, bench.replicas, strict=True):
        bench.refund(refund, process)
    bench.expect_conserved(reading="Events", must_announce=True)


@check(points=2, kills=["publishes-newest-first"], arena="events", needs=ANNOUNCED)
def test_refunds_follow_their_payment(bench: Bench) -> None:
    """What happens to one payment is announced in its order, also when the relay has to catch up."""
    with bench.arena.faults("kafka").refused():
        for process in bench.replicas:
            order = bench.order(amount_cents=1000)
            id = bench.pay(order, process)
            for amount in (100, 200, 300):
                bench.refund(bench.refund_of(order, id, amount), process)
    bench.expect_conserved(reading="The relay")


@check(points=2, kills=["remembers-the-last-id"], arena="events", needs=ANNOUNCED)
def test_a_slow_commit_is_announced(bench: Bench) -> None:
    """A payment whose COMMIT was slow is announced, though later ones were announced before it."""
    bench.hold_each_commit()
    bench.expect_conserved(reading="The relay", hint=SKIPPED)


@check(points=1, kills=["marks-up-to-the-highest"], arena="events", needs=ANNOUNCED)
def test_a_commit_behind_the_relay_is_announced(bench: Bench) -> None:
    """A payment that is committed while later ones are with Kafka already is announced after them."""
    bench.commit_behind_the_relay()
    bench.expect_conserved(reading="The relay", hint=BEHIND)


@check(points=2, kills=["a-new-event-id-at-each-publication"], arena="events", needs=ANNOUNCED)
def test_a_repeated_record_is_identical(bench: Bench) -> None:
    """Killed when Kafka has a record and nobody knows: what is sent again is the same, event_id included."""
    sweep = bench.sweep(bench.lone_order)
    sweep.at_record(Way.BACK)

    sweep.expect_conserved(reading="The relay")


@check(points=2, kills=["marks-before-the-acknowledgement"], arena="events", needs=ANNOUNCED)
def test_a_lost_record_is_sent_again(bench: Bench) -> None:
    """Killed while a record is on its way to Kafka, which never gets it: it is sent again."""
    sweep = bench.sweep(bench.lone_order)
    sweep.at_record(Way.THERE)

    sweep.expect_conserved(reading="The relay", hint=LOST)
