"""Stage races: the same key, or the same payment, from many sides at once."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from labkit import Exchange, check

from .orders import Order, Wish, post
from .provider import FAILS, FOR_NOW, Turn

if TYPE_CHECKING:
    from .bench import Bench

TAKEN = "a-payment-is-taken"
REFUNDS = "a-refund-is-taken"
READING = "The same key at the same time"
CROWD = 5
ROUNDS = 2
LATE = "who was away for longer than the lock lives gives back, and writes, nothing that is another's by now"
LEAVES_AFTER_S, NOTICED_WITHIN_S = 0.7, 0.3


@check(points=3, kills=["keys-in-memory", "looks-up-then-inserts"], arena="calm", needs=TAKEN)
def test_one_key_at_once_is_one_payment(bench: Bench) -> None:
    """Many requests with one key, to one or all replicas: each is 201 or 409, and there is one payment."""
    for round in range(ROUNDS):
        order = bench.order()
        processes = bench.replicas if round else bench.replicas[:1]
        with bench.arena.bursting:
            _at_once(bench, [(order, process) for process in processes for _ in range(CROWD)])
    bench.expect_conserved(reading=READING)


@check(points=2, kills=["a-duplicate-is-a-500", "shares-what-runs-by-key"], arena="calm", needs=TAKEN)
def test_a_key_in_progress_waits_or_is_409(bench: Bench) -> None:
    """A repeat while the first is at the provider is 409, or waits for its answer; then it is replayed."""
    order = bench.order()
    for answer in _repeat_in_progress(bench, order, bench.replicas * 2):
        bench.has_status(
            answer,
            *(201, 409),
            reading=READING,
            hint="a key that is taken is no accident: say 409, or wait for the first answer",
            about=order,
            again=partial(_repeat_of_another, bench, answer.request.process),
        )
    bench.settle([order], reading=READING)

    bench.expect_paid(order, reading=READING, hint="the first request was taken in hand")
    replay = bench.post(order, "web-3")
    bench.replays(replay, bench.end_of(order), about=order, reading=READING, hint="the key has ended")
    _others_meanwhile(bench)
    bench.expect_conserved(reading=READING)


def _others_meanwhile(bench: Bench) -> None:
    """While a payment is at the provider its key comes with another body, and from another merchant."""
    order = bench.order()
    other_body = replace(order, amount_cents=order.amount_cents + 1)
    strangers = bench.order(merchant=bench.wishes.merchant(), key=order.key)
    gate, first = bench.held_at_provider(order, "web-1", charged=False)
    wrong = bench.begin(post(other_body, "web-1"))
    theirs = bench.wish_for(strangers, "web-1")
    bench.arena.wait_for(lambda: wrong.done() and theirs.done(), within=0.7)
    gate.open()
    bench.came(order, first)
    refused = bench.answered(bench.seen(wrong.result()))
    hint = "who waits for what runs under a key has to have asked for the same"
    bench.has_status(refused, 422, 409, *FOR_NOW, reading="Keys", hint=hint, about=order)
    answer = bench.came(strangers, theirs)
    hint = "another merchant's key is another key, also while it runs"
    bench.has_status(answer, 201, *FOR_NOW, reading="Merchants", hint=hint, about=strangers)
    bench.settle([order, strangers], reading=READING)
    bench.shows_payment(bench.end_of(strangers), strangers)


@check(points=1, kills=["a-client-that-leaves-frees-the-key"], arena="calm", needs=REFUNDS)
def test_a_client_that_leaves_changes_nothing(bench: Bench) -> None:
    """Clients hang up while the provider is about to answer: the keys of a payment and a refund still end."""
    order, other = bench.order(), bench.order(amount_cents=900)
    refund = bench.refund_of(other, bench.pay(other), 400)
    gate = bench.provider.gate()
    for wish in (order, refund):
        bench.script(wish, Turn(done=gate))
    leaving = [(wish, bench.wish_for(wish, "web-1", deadline_s=LEAVES_AFTER_S)) for wish in (order, refund)]
    for wish, waiting in leaving:
        bench.heard(wish, waiting.result())
    bench.arena.tell("grader", "the clients have hung up")
    bench.arena.sleep(NOTICED_WITHIN_S)
    gate.open()
    bench.settle([order, refund], reading=READING)

    hint = "the provider has done it, whoever still listens: the next one with this key has to find that"
    bench.expect_paid(order, reading=READING, hint=hint)
    bench.expect_paid(refund, reading=READING, hint=hint)
    bench.expect_conserved(reading=READING, hint=hint)


@check(points=1, kills=["whoever-is-late-undoes-the-end"], arena="calm", needs=REFUNDS)
def test_who_is_late_changes_no_end(bench: Bench) -> None:
    """A request is at the provider for longer than L, and a repeat ends the key: that end stays."""
    failing, lucky, other = bench.order(), bench.order(), bench.order(amount_cents=900)
    refund = bench.refund_of(other, bench.pay(other), 400)
    wishes: list[Wish] = [failing, lucky, refund]
    gate = bench.provider.gate()
    for wish in wishes:
        bench.script(wish, Turn(seen=gate, fails=wish is not lucky))
    first = [bench.wish_for(wish, "web-1") for wish in wishes]
    bench.arena.sleep(bench.lock_s + 0.3)
    again = [bench.wish_for(wish, "web-2") for wish in wishes]
    bench.arena.wait_for(lambda: all(each.done() for each in again), within=0.9)
    for wish in (failing, refund):
        bench.script(wish, then=FAILS)
    gate.open()
    for wish, late in zip(wishes, first, strict=True):
        bench.has_status(bench.came(wish, late), 201, 409, *FOR_NOW, reading=READING, about=wish)
    for wish in (failing, refund):
        bench.script(wish)

    for wish, waiting in zip(wishes, again, strict=True):
        answer = bench.came(wish, waiting)
        bench.has_status(answer, 201, 409, *FOR_NOW, reading=READING, about=wish)
        for process in bench.replicas if answer.status == 201 else ():
            bench.replays(bench.post(wish, process), answer, about=wish, reading=READING, hint=LATE)
    bench.settle(wishes, reading=READING)
    bench.expect_conserved(reading=READING, hint=LATE)


@check(points=2, kills=["refunds-counted-when-done"], arena="calm", needs=REFUNDS)
def test_refunds_at_the_provider_count(bench: Bench) -> None:
    """Refunds that meet while the first is at the provider: together never more than the payment."""
    order = bench.order(amount_cents=1000)
    id = bench.pay(order)
    gate = bench.provider.gate()
    refunds = [bench.refund_of(order, id, 600) for _ in bench.replicas]
    bench.script(refunds[0], then=Turn(seen=gate))
    first = bench.wish_for(refunds[0], "web-1")
    bench.arena.wait_for(gate.reached.is_set, first.done, within=2.0)
    others = [
        bench.wish_for(refund, name) for refund, name in zip(refunds[1:], bench.replicas[1:], strict=True)
    ]
    bench.arena.wait_for(lambda: all(each.done() for each in others), within=1.0)
    gate.open()
    for refund, waiting in zip(refunds, [first, *others], strict=True):
        answer = bench.came(refund, waiting)
        bench.has_status(answer, 201, 409, *FOR_NOW, reading="Refunds", about=refund)
    bench.expect_conserved(reading="Refunds")


@check(points=2, kills=["refunds-counted-when-done"], arena="calm", needs=REFUNDS)
def test_racing_refunds_never_exceed(bench: Bench) -> None:
    """Many refunds of one payment at once, each with a key of its own: never more than the payment."""
    for _ in range(ROUNDS):
        order = bench.order(amount_cents=1000)
        id = bench.pay(order)
        refunds = [bench.refund_of(order, id, 300) for _ in range(2 * len(bench.replicas))]
        with bench.arena.bursting:
            _at_once(bench, list(zip(refunds, bench.replicas * 2, strict=True)), 503)
    bench.expect_conserved(reading="Refunds")


@check(points=1, kills=["keys-in-memory"], arena="calm", needs=REFUNDS)
def test_one_refund_key_at_once_is_one_refund(bench: Bench) -> None:
    """One refund sent to all replicas at once, several times over, is done once."""
    for _ in range(ROUNDS):
        order = bench.order(amount_cents=1000)
        refund = bench.refund_of(order, bench.pay(order), 200)
        with bench.arena.bursting:
            _at_once(bench, [(refund, process) for process in bench.replicas for _ in range(2)])
    bench.expect_conserved(reading=READING)


@check(points=3, kills=["looks-up-then-inserts"], arena="staged", needs=TAKEN)
def test_one_key_meets_itself_anywhere(bench: Bench) -> None:
    """A payment held before one statement after another meets a repeat elsewhere: there is one payment."""

    def twice() -> tuple[Wish, Wish]:
        order = bench.order(merchant=bench.wishes.merchant())
        return order, order

    bench.meet_at_each_statement(twice)
    bench.expect_conserved(reading=READING)


@check(points=3, kills=["refund-read-then-written"], arena="staged", needs=REFUNDS)
def test_refunds_meet_anywhere(bench: Bench) -> None:
    """A refund held before one statement after another meets another: never more than the payment."""

    def two() -> tuple[Wish, Wish]:
        order = bench.order(merchant=bench.wishes.merchant(), amount_cents=1000)
        id = bench.pay(order)
        return bench.refund_of(order, id, 600), bench.refund_of(order, id, 700)

    bench.meet_at_each_statement(two)
    bench.expect_conserved(reading="Refunds")


def _repeat_in_progress(bench: Bench, order: Order, processes: list[str]) -> list[Exchange]:
    """Hold a payment at the provider, and repeat it at these: the first's answer, then the repeats'."""
    gate, first = bench.held_at_provider(order, processes[0], charged=False)
    again = [bench.wish_for(order, process) for process in processes]
    bench.arena.wait_for(lambda: all(each.done() for each in again), within=0.7)
    gate.open()
    return [bench.came(order, waiting) for waiting in (first, *again)]


def _repeat_of_another(bench: Bench, process: str) -> Exchange:
    return _repeat_in_progress(bench, bench.order(), [process])[-1]


def _at_once(bench: Bench, wishes: list[tuple[Wish, str]], *also: int) -> None:
    """All in one moment: each is answered 201 or 409, or one of these as well."""
    answers = bench.arena.burst([post(wish, process) for wish, process in wishes])
    for (wish, _), answer in zip(wishes, answers, strict=True):
        bench.heard(wish, answer)
    for (wish, _), answer in zip(wishes, answers, strict=True):
        hint = "the key is taken: that is no error of the service, but 409, or a reason to wait"
        bench.has_status(answer, 201, 409, *also, reading=READING, hint=hint, about=wish)
