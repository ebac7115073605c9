"""Stage provider: a provider that is slow, fails before the work, or hangs up after it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from labkit import check

from .orders import GRACE_S, POST_WITHIN_S, Order, Refund, post
from .provider import CUTS, FAILS, FOR_NOW, Turn

if TYPE_CHECKING:
    from .bench import Bench

TAKEN = "a-payment-is-taken"
REFUNDS = "a-refund-is-taken"
READING = "When the provider fails"
SLOW_S = 2.5
# Four times this are within the 10 s; whoever asks more often has to look at the clock.
LATE_S = 2.2
CHARGED = "the provider has charged it, and says so if it is asked again"


@check(points=2, kills=["timeout-means-declined"], arena="calm", needs=TAKEN)
def test_a_slow_provider_is_waited_for(bench: Bench) -> None:
    """A charge that takes 2.5 s ends 201, or in a 5xx and 201 when it is retried; never 402, never twice."""
    order, other = bench.order(amount_cents=500), bench.order(amount_cents=500)
    bench.script(order, Turn(late_s=SLOW_S))
    slow = bench.wish_for(order, "web-1")
    id = bench.pay(other, "web-2")
    refund = bench.refund_of(other, id, 200)
    bench.script(refund, Turn(late_s=SLOW_S))
    refunding = bench.wish_for(refund, "web-2")
    hint = "no answer is not a no: the money may have been taken"
    for wish, waiting in ((order, slow), (refund, refunding)):
        answer = bench.came(wish, waiting)
        bench.has_status(answer, 201, *FOR_NOW, reading=READING, hint=hint, about=wish)
    bench.expect_conserved(reading=READING)


@check(
    points=2,
    kills=["a-503-means-declined", "server-errors-are-stored", "shows-what-is-reserved-as-refunded"],
    arena="calm",
    needs=TAKEN,
)
def test_a_failing_provider_is_a_5xx(bench: Bench) -> None:
    """While the provider answers 503 a payment ends 502, 503 or 504; later its key goes on to 201."""
    order, other = bench.order(amount_cents=500), bench.order(amount_cents=500)
    id = bench.pay(other)
    refund = bench.refund_of(other, id, 200)
    for wish in (order, refund):
        bench.script(wish, then=FAILS)
    failing = [(wish, bench.wish_for(wish, "web-1")) for wish in (order, refund)]
    for wish, waiting in failing:
        hint = "it has not been done, and it has not been declined: say that it failed for now"
        answer = bench.came(wish, waiting)
        bench.refused(answer, *FOR_NOW, reading=READING, hint=hint, about=wish)
    bench.nothing_charged(order.source, reading=READING, exchange=bench.answers_to(order)[0])
    bench.shows_payment(bench.read(other, id, "web-2"), other)  # with nothing refunded yet
    for wish in (order, refund):
        bench.script(wish)
    bench.settle([order, refund], reading="What is stored")

    bench.expect_paid(order, reading="What is stored", hint="a 5xx is not stored: the key goes on")
    bench.expect_conserved(reading=READING)


@check(points=1, kills=["asks-the-provider-for-half-a-minute"], arena="calm", needs=REFUNDS)
def test_a_post_has_its_time(bench: Bench) -> None:
    """While the provider takes 2.2 s and hangs up, each time, a payment and a refund end within 10 s."""
    order, other = bench.order(), bench.order(amount_cents=500)
    refund = bench.refund_of(other, bench.pay(other), 200)
    for wish in (order, refund):
        bench.script(wish, then=Turn(late_s=LATE_S, cuts=True))
    deadline_s = POST_WITHIN_S + GRACE_S
    begun = [(wish, bench.wish_for(wish, "web-1", deadline_s=deadline_s)) for wish in (order, refund)]
    for wish, waiting in begun:
        hint = "who counts how often the provider is asked has to look at the clock as well"
        answer = bench.in_time(bench.heard(wish, waiting.result()), hint=hint, about=wish)
        bench.has_status(answer, *FOR_NOW, reading=READING, about=wish)
    for wish in (order, refund):
        bench.script(wish)
    bench.settle([order, refund], reading=READING)
    bench.expect_conserved(reading=READING)


@check(points=2, kills=["a-fresh-provider-key-for-each-call"], arena="calm", needs=TAKEN)
def test_done_then_cut_is_one_charge(bench: Bench) -> None:
    """The provider charges and hangs up, again and again: there is one charge, and its key ends 201."""
    orders = [bench.order() for _ in range(3)]
    for count, order in enumerate(orders, start=1):
        bench.script(order, *[CUTS] * count, FAILS, CUTS)
    waiting = [(order, bench.wish_for(order, "web-1")) for order in orders]
    for order, each in waiting:
        hint = "hung up is not declined: it may be done"
        bench.has_status(bench.came(order, each), 201, *FOR_NOW, reading=READING, hint=hint, about=order)
    bench.settle(orders, reading=READING)

    for order in orders:
        bench.expect_paid(order, reading=READING, hint=CHARGED)
    bench.expect_conserved(reading=READING)


@check(
    points=1,
    kills=["a-5xx-forgets-the-body", "a-503-forgets-the-key", "an-open-refund-takes-another-amount"],
    arena="calm",
    needs=REFUNDS,
)
def test_a_key_keeps_its_body_after_a_5xx(bench: Bench) -> None:
    """A key that ended in a 5xx goes on with the same body only: no other is taken, of a refund neither."""
    paid = bench.order(amount_cents=900)
    refund = bench.refund_of(paid, bench.pay(paid), 500)
    cut, failed = bench.order(amount_cents=500), bench.order(amount_cents=500)
    wishes: tuple[Order | Refund, ...] = (cut, failed, refund)
    for wish in wishes:
        bench.script(wish, then=FAILS if wish is failed else CUTS)
    for wish, waiting in [(wish, bench.wish_for(wish, "web-1")) for wish in wishes]:
        bench.has_status(bench.came(wish, waiting), *FOR_NOW, reading=READING, about=wish)
    for wish in wishes:
        bench.script(wish)
    for wish in wishes:
        for process in bench.replicas:
            answer = bench.ask(post(replace(wish, amount_cents=400), process))
            hint = "500 were begun under this key: whoever asks for 400 asks for something else"
            bench.has_status(answer, 422, 409, *FOR_NOW, reading="Keys", hint=hint, about=wish)
    bench.settle(wishes, reading="What is stored")
    for order in (cut, failed):
        bench.expect_paid(order, reading="What is stored", hint=CHARGED)
    bench.expect_conserved(reading=READING)


@check(points=2, kills=["lock-expires-before-the-provider-answers"], arena="calm", needs=TAKEN)
def test_a_lock_outlives_a_slow_provider(bench: Bench) -> None:
    """A repeat later than L, while the provider is still at work: one charge, one payment, one answer."""
    orders = [bench.order() for _ in range(2)]
    for order in orders:
        bench.script(order, Turn(late_s=SLOW_S), Turn(late_s=0.3))
    first = [(order, bench.wish_for(order, "web-1")) for order in orders]
    bench.arena.sleep(bench.lock_s + 0.3)
    again = [(order, bench.wish_for(order, name)) for order in orders for name in ("web-2", "web-3")]
    for order, waiting in (*first, *again):
        answer = bench.came(order, waiting)
        bench.has_status(answer, 201, 409, *FOR_NOW, reading="The same key at the same time", about=order)
    bench.expect_conserved(reading="The same key at the same time")


@check(
    points=1,
    kills=["a-fresh-provider-key-for-each-refund", "a-retry-reserves-again"],
    arena="calm",
    needs=REFUNDS,
)
def test_a_failing_refund_is_taken_once(bench: Bench) -> None:
    """A refund that the provider does and hangs up, or fails first, is done once."""
    refunds = []
    for turns in ([CUTS], [FAILS, CUTS], [CUTS, CUTS, FAILS]):
        order = bench.order(amount_cents=900)
        refunds.append(bench.refund_of(order, bench.pay(order), 400))
        bench.script(refunds[-1], *turns)
    for refund, waiting in [(refund, bench.wish_for(refund, "web-1")) for refund in refunds]:
        answer = bench.came(refund, waiting)
        bench.has_status(answer, 201, *FOR_NOW, reading=READING, about=refund)
    bench.settle(refunds, reading=READING)
    rests = [bench.rest_of(refund) for refund in refunds]
    bench.settle(rests, reading=READING)
    for rest in rests:
        hint = "what a refund that was tried twice has left is what one leaves: 900 - 400"
        bench.expect_paid(rest, reading="Refunds", hint=hint)
    bench.expect_conserved(reading=READING)


@check(
    points=2,
    kills=["an-unresolved-refund-frees-its-amount", "a-refused-retry-frees-the-amount"],
    arena="calm",
    needs=REFUNDS,
)
def test_an_unresolved_refund_stays_reserved(bench: Bench) -> None:
    """A refund that may have been done counts until its key has ended: others can have the rest only."""
    for later in (CUTS, FAILS):
        order = bench.order(amount_cents=1000)
        id = bench.pay(order)
        unresolved, other = bench.refund_of(order, id, 700), bench.refund_of(order, id, 600)
        bench.script(unresolved, CUTS, then=later)
        for _ in range(2):
            bench.has_status(bench.post(unresolved), 409, *FOR_NOW, reading=READING, about=unresolved)
        bench.script(unresolved)
        answer = bench.post(other, "web-2")

        hint = "the provider hung up on 700 of 1000, and may have paid them: 600 more are too many"
        bench.has_status(answer, 409, *FOR_NOW, reading=READING, hint=hint, about=other)
    bench.expect_conserved(reading=READING)
