"""Stage outage: Kafka away, Postgres restarted or silent, a COMMIT whose outcome nobody knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit import check

from .provider import Turn

if TYPE_CHECKING:
    from .bench import Bench

TAKEN = "a-payment-is-taken"
REFUNDS = "a-refund-is-taken"
ANNOUNCED = "a-success-is-announced"
KAFKA, POSTGRES = "When Kafka is away", "When Postgres fails"
FOR_NOW = range(500, 600)
# Longer than whoever counts tries, or seconds, has patience.
AWAY_S = 9.0


@check(
    points=2,
    kills=[
        "publishes-within-the-request",
        "gives-up-on-kafka",
        "tries-kafka-for-some-seconds",
        "an-open-payment-is-given-up",
        "a-reservation-runs-out",
    ],
    arena="commits",
    needs=ANNOUNCED,
)
def test_kafka_refused_payments_go_on(bench: Bench) -> None:
    """With a Kafka that refuses connections payments and refunds are 201; their events follow later."""
    open_wishes = bench.left_open()
    with bench.arena.faults("kafka").refused():
        begin = bench.arena.clock()
        bench.pays_without_kafka()
        bench.arena.sleep_until(begin + AWAY_S)
    bench.ends_what_was_left_open(*open_wishes)
    bench.expect_conserved(reading=KAFKA, hint="does whoever publishes connect again by itself?")
    bench.pays_everywhere()
    bench.expect_conserved(reading=KAFKA, hint="does whoever publishes connect again by itself?")


@check(points=1, kills=["publishes-within-the-request"], arena="events", needs=ANNOUNCED)
def test_kafka_frozen_payments_go_on(bench: Bench) -> None:
    """With a Kafka that accepts and never answers payments are 201 as well; their events follow."""
    with bench.arena.faults("kafka").paused():
        bench.pays_without_kafka()
    bench.expect_conserved(reading=KAFKA, hint="does whoever publishes give up on what is never answered?")


@check(points=2, kills=["never-reconnects-to-postgres"], arena="outage", needs=TAKEN)
def test_a_restart_of_postgres_converges(bench: Bench) -> None:
    """Postgres restarts while payments are at the provider: 5xx or 201, then each key ends: one charge."""
    gate = bench.provider.gate()
    orders = [bench.lone_order() for _ in bench.replicas]
    for order in orders:
        bench.script(order, Turn(done=gate))
    waiting = [bench.wish_for(order, name) for order, name in zip(orders, bench.replicas, strict=True)]
    bench.arena.wait_for(lambda: all(bench.provider.charged(order.source) for order in orders), within=2.0)
    bench.arena.faults("postgres").restart(empty=False)
    gate.open()
    for order, each in zip(orders, waiting, strict=True):
        answer = bench.came(order, each)
        bench.has_status(answer, 201, 409, *FOR_NOW, reading=POSTGRES, about=order)
    later = [bench.lone_order() for _ in bench.replicas]
    for order, process in zip(later, bench.replicas, strict=True):
        bench.settle([order], reading=POSTGRES, processes=[process])
    bench.expect_conserved(reading=POSTGRES)


@check(
    points=2,
    kills=[
        "a-failed-commit-is-a-decline",
        "an-unknown-commit-is-charged-again",
        "a-success-that-cannot-be-booked",
    ],
    arena="outside",
    needs=TAKEN,
)
def test_a_cut_at_commit_converges(bench: Bench) -> None:
    """The link to Postgres is cut at each COMMIT, before and after it is done: each key ends, one charge."""
    bench.cut_at_each_commit(bench.lone_order)
    bench.cut_at_all_commits()
    bench.expect_conserved(reading=POSTGRES)


@check(points=1, kills=["a-lost-commit-undoes-the-refund"], arena="staged", needs=REFUNDS)
def test_a_refund_cut_at_commit_converges(bench: Bench) -> None:
    """The link to Postgres is cut at each COMMIT of a refund, before and after it: it is done once."""
    bench.cut_at_each_commit(bench.lone_refund)
    bench.expect_conserved(reading=POSTGRES)


@check(
    points=2,
    kills=["health-asks-postgres", "hangs-without-postgres", "a-success-that-cannot-be-booked"],
    arena="outage",
    needs=TAKEN,
)
def test_without_postgres_is_a_5xx(bench: Bench) -> None:
    """With Postgres silent /healthz is 200, and requests end in a 5xx in their time, told as a problem."""
    order, charged, later = (bench.lone_order() for _ in range(3))
    bench.settle([order], reading=POSTGRES)  # the first request after another check's outage may fail
    refund = bench.refund_of(order, bench.id_of(order, bench.end_of(order)), order.amount_cents // 2)
    gate, waiting = bench.held_at_provider(charged, "web-3", charged=True)
    with bench.arena.faults("postgres").paused():
        gate.open()
        bench.fails_for_now(later, refund)
        answer = bench.came(charged, waiting)
    bench.has_status(answer, 201, *FOR_NOW, reading=POSTGRES, about=charged)
    bench.settle([charged, later, refund], reading=POSTGRES)
    bench.expect_booked(charged, "web-3")
    bench.expect_conserved(reading=POSTGRES)
