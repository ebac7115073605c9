"""Services taken away, and processes told to stop, while payments are under way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

from labkit import Exchange, Inconclusive, Request, Way

from .boundaries import next_commit
from .orders import GRACE_S, POST_WITHIN_S, Order, Refund, Wish, read
from .provider import CUTS, FOR_NOW
from .survey import idle_texts

if TYPE_CHECKING:
    from .bench import Bench

REACHED_WITHIN_S = 5.0
TAKEN_IN_S = 0.3
CUT_OFF = "web-1"
MOST_COMMITS = 5
OPEN = "When the provider fails"


def terminate_during_a_payment(bench: Bench, order: Order, process: str) -> tuple[Exchange, int | None]:
    """SIGTERM while the payment is at the provider; (its answer, the exit code)."""
    gate, waiting = bench.held_at_provider(order, process, charged=False)

    def go_on() -> None:
        bench.arena.sleep(TAKEN_IN_S)
        gate.open()

    try:
        if not gate.reached.is_set() and not waiting.done():
            raise Inconclusive("the payment did not come to the provider in time")
        code = bench.arena.terminate(process, then=go_on)
    finally:
        gate.open()
    return bench.heard(order, waiting.result()), code


def pays_everywhere(bench: Bench) -> None:
    """A payment and a refund at each replica, all 201."""
    for process in bench.replicas:
        order = bench.lone_order()
        refund = bench.refund_of(order, bench.pay(order, process), order.amount_cents // 2)
        bench.refund(refund, process)


def pays_without_kafka(bench: Bench) -> None:
    """The same, all replicas at once, as each may take its time: 201, though nothing can be announced."""
    orders = [(bench.lone_order(), process) for process in bench.replicas]
    paid = _all_201(bench, orders)
    refunds = [
        (bench.refund_of(order, bench.id_of(order, answer), order.amount_cents // 2), process)
        for (order, process), answer in zip(orders, paid, strict=True)
    ]
    _all_201(bench, refunds)


def _all_201(bench: Bench, wishes: Sequence[tuple[Wish, str]]) -> list[Exchange]:
    waiting = [(wish, bench.wish_for(wish, process)) for wish, process in wishes]
    answers = [bench.came(wish, each) for wish, each in waiting]
    hint = "an event is written down with the payment, and carried to Kafka by somebody else"
    for (wish, _), answer in zip(wishes, answers, strict=True):
        bench.has_status(answer, 201, reading="When Kafka is away", hint=hint, about=wish)
    return answers


def left_open(bench: Bench) -> tuple[Order, Refund]:
    """A payment and a refund whose client has been told a 5xx, though the provider has done them."""
    order, refund = bench.lone_order(), bench.lone_refund()
    for wish in (order, refund):
        bench.script(wish, then=CUTS)
    for wish, waiting in [(wish, bench.wish_for(wish, CUT_OFF)) for wish in (order, refund)]:
        bench.has_status(bench.came(wish, waiting), *FOR_NOW, reading=OPEN, about=wish)
    return order, refund


def ends_what_was_left_open(bench: Bench, order: Order, refund: Refund) -> None:
    """The provider is well, and the client comes back, however late: nothing has been given up meanwhile."""
    for wish in (order, refund):
        bench.script(wish)
    too_much = bench.refund_of(refund.order, refund.payment_id, refund.order.amount_cents)
    answer = bench.post(too_much, CUT_OFF)
    hint = "the provider has given half of it back, and nobody has learnt yet that it did not"
    bench.has_status(answer, 409, *FOR_NOW, reading=OPEN, hint=hint, about=too_much)
    bench.settle([order, refund], reading=OPEN)
    hint = "the money was taken, however long ago: a key that is open stays open"
    bench.expect_paid(order, reading=OPEN, hint=hint)
    bench.expect_paid(refund, reading=OPEN, hint=hint)


def cut_at_each_commit(bench: Bench, make: Callable[[], Wish]) -> None:
    """Cut web-1's link to Postgres at each COMMIT of a wish: before Postgres has it, and afterwards."""
    idle = idle_texts(bench)[CUT_OFF]
    for way in Way:
        for nth in range(1, MOST_COMMITS + 1):
            if not _cut_at_commit(bench, make(), way=way, nth=nth, idle=idle):
                break


def _cut_at_commit(bench: Bench, wish: Wish, *, way: Way, nth: int, idle: frozenset[str]) -> bool:
    """Whether there was such a COMMIT."""
    with bench.arena.link(CUT_OFF, "postgres").trap(next_commit(idle, nth=nth), way=way) as trap:
        waiting = bench.wish_for(wish, CUT_OFF)
        bench.arena.wait_for(trap.caught.is_set, waiting.done, within=REACHED_WITHIN_S)
        trap.cut()
    if trap.caught.is_set():
        bench.arena.tell(CUT_OFF, f"cut off from Postgres at COMMIT {nth} of what was asked: {way.value}")
    _ends_paid(bench, wish, waiting)
    return trap.caught.is_set()


def cut_at_all_commits(bench: Bench) -> None:
    """Cut web-1's link to Postgres at whatever COMMIT comes after a charge, until the request is answered."""
    idle, order = idle_texts(bench)[CUT_OFF], bench.lone_order()
    gate, waiting = bench.held_at_provider(order, CUT_OFF, charged=True)
    bench.arena.tell(CUT_OFF, f"cut off from Postgres at each COMMIT after the charge of {order.order_id}")
    while not waiting.done():
        with bench.arena.link(CUT_OFF, "postgres").trap(next_commit(idle, nth=1), way=Way.THERE) as trap:
            gate.open()
            bench.arena.wait_for(trap.caught.is_set, waiting.done, within=REACHED_WITHIN_S)
            trap.cut()
    _ends_paid(bench, order, waiting)
    bench.expect_booked(order, CUT_OFF)


def _ends_paid(bench: Bench, wish: Wish, waiting: Future[Exchange]) -> None:
    """Whatever it is answered when it is cut off, retried it is paid."""
    answer = bench.came(wish, waiting)
    bench.has_status(answer, 201, 409, *range(500, 600), reading="When Postgres fails", about=wish)
    bench.settle([wish], reading="When Postgres fails", processes=[CUT_OFF])
    bench.expect_paid(wish, reading="When Postgres fails", hint="nobody has declined it")


def expect_booked(bench: Bench, order: Order, process: str) -> None:
    """A payment that has ended, and not in a refusal, is there."""
    hint = "the money was taken: it is a success as soon as that is booked, and not before"
    bench.expect_paid(order, reading="When Postgres fails", hint=hint)
    shown = bench.read(order, bench.id_of(order, bench.end_of(order)), process)
    bench.has_status(shown, 200, reading="When Postgres fails", hint=hint, about=order)


def fails_for_now(bench: Bench, order: Order, refund: Refund) -> None:
    """While a service is gone: a payment, a refund and a GET end in a 5xx, in their time; health is 200."""
    wishes: tuple[tuple[Wish, str], ...] = ((order, "web-1"), (refund, "web-2"))
    deadline_s = POST_WITHIN_S + GRACE_S
    waiting = [(wish, bench.wish_for(wish, name, deadline_s=deadline_s)) for wish, name in wishes]
    get = read(refund.merchant, refund.payment_id, "web-2")
    reading = bench.begin(replace(get, deadline_s=get.deadline_s + GRACE_S))
    for process in bench.replicas:
        health = bench.ask(Request(process, "/healthz"))
        hint = "health says that the process takes requests, not that Postgres does"
        # Whose health asks nobody has nobody to give up.
        bench.has_status(health, 200, reading="Starting and stopping", hint=hint, sure=True)
    hint = "whatever Postgres is asked needs an end that does not depend on Postgres"
    shown = bench.in_time(bench.seen(reading.result()), hint=hint, about=refund.order)
    bench.refused(shown, *range(500, 600), reading="When Postgres fails")
    for wish, each in waiting:
        answer = bench.in_time(bench.heard(wish, each.result()), hint=hint, about=wish)
        bench.refused(answer, *range(500, 600), reading="When Postgres fails", about=wish)
