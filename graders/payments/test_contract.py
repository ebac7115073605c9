"""Stage contract: what the service answers to single requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit import Request, check, expect

from .orders import PAYMENTS, post, read

if TYPE_CHECKING:
    from .bench import Bench

TAKEN = "a-payment-is-taken"
REFUNDS = "a-refund-is-taken"
LARGEST = 10**12
STRANGE_IDS = ("0", "-1", "nobody", "%00", "%27", "1e3", "9" * 40, "00000000-0000-0000-0000-000000000000")


@check(points=2, kills=["leaves-out-the-charge", "no-location"], arena="calm", gate=True)
def test_a_payment_is_taken(bench: Bench) -> None:
    """POST /payments answers 201 with the payment and Location; the provider charged it, GET shows it."""
    for process in bench.replicas:
        order = bench.order()
        health = bench.ask(Request(process, "/healthz"))
        answer = bench.post(order, process)

        bench.has_status(health, 200, reading="Starting and stopping")
        hint = "nothing is taken yet: begin where this 501 comes from" if answer.status == 501 else None
        bench.has_status(answer, 201, reading="The answers", hint=hint, about=order)
        bench.shows_payment(answer, order)
        bench.is_located(answer, order)
        bench.shows_payment(bench.read(order, bench.id_of(order, answer), process), order)


@check(points=2, kills=["a-decline-is-a-502"], arena="calm", needs=TAKEN)
def test_a_decline_is_402(bench: Bench) -> None:
    """A payment that the provider declines answers 402, as a problem; nothing is charged or announced."""
    order = bench.order()
    bench.provider.decline(order.source)
    answer = bench.post(order)

    bench.refused(answer, 402, reading="The answers", about=order)
    bench.pay(bench.order())
    bench.expect_conserved()


@check(points=1, kills=["a-strange-id-is-a-500"], arena="calm", needs=TAKEN)
def test_what_is_not_there_is_404(bench: Bench) -> None:
    """GET and refund of a payment that there is not answer 404, whatever the id looks like."""
    order = bench.order()
    for id in (*STRANGE_IDS, bench.wishes.word(20)):
        bench.refused(bench.read(order, id), 404, reading="The answers", hint="no payment has this id")
        refund = bench.refund_of(order, id, 5)
        bench.refused(bench.ask(post(refund, "web-2")), 404, reading="The answers")
    bench.expect_conserved()


@check(points=1, kills=["serves-without-a-merchant"], arena="calm", needs=TAKEN)
def test_a_merchant_is_required(bench: Bench) -> None:
    """A request without X-Merchant-Id, or with one of no or over 64 characters, is 401 and does nothing."""
    longest = bench.order(merchant=bench.wishes.merchant().ljust(64, "x"))
    id = bench.pay(longest)
    for merchant in (None, "", "x" * 65):
        order = bench.order()
        named = {} if merchant is None else {"X-Merchant-Id": merchant}
        refused = [
            bench.ask(post(order, "web-1", X_Merchant_Id=merchant)),
            bench.ask(Request("web-2", f"{PAYMENTS}/{id}", headers=named)),
            bench.ask(post(bench.refund_of(longest, id, 1), "web-3", X_Merchant_Id=merchant)),
        ]
        for answer in refused:
            bench.refused(answer, 401, reading="Merchants", hint="1 to 64 characters say whose it is")
        bench.nothing_charged(order.source, reading="Merchants", exchange=refused[0])
    bench.expect_conserved()


@check(points=2, kills=["shows-payments-of-others", "refunds-payments-of-others"], arena="calm", needs=TAKEN)
def test_merchants_are_strangers(bench: Bench) -> None:
    """A payment of another merchant is 404 for GET and for refunds: not there, rather than forbidden."""
    order, stranger = bench.order(), bench.wishes.merchant()
    id = bench.pay(order)
    hint = "ask for the payment and its merchant in one question"
    for process in bench.replicas:
        bench.refused(
            bench.ask(read(stranger, id, process)), 404, reading="Merchants", hint=hint, about=order
        )
        refund = bench.refund_of(order, id, 1)
        answer = bench.ask(post(refund, process, X_Merchant_Id=stranger))
        bench.refused(answer, 404, reading="Merchants", hint=hint, about=order)
    bench.expect_conserved()


@check(
    points=2,
    kills=["takes-numeric-strings", "a-wrong-type-is-a-500", "a-negative-amount-is-taken"],
    arena="calm",
    needs=TAKEN,
)
def test_bad_bodies_change_nothing(bench: Bench) -> None:
    """Malformed JSON, a wrong type, a missing member, a value out of range: 400 or 422, nothing is done."""
    order = bench.order()
    id = bench.pay(order)
    for wrong in _NO_OBJECTS:
        attempt = bench.order()
        answers = [
            bench.ask(post(attempt, "web-1", body=wrong)),
            bench.ask(post(bench.refund_of(order, id, 1), "web-2", body=wrong)),
        ]
        for answer in answers:
            bench.refused(answer, 400, 422, reading="Amounts", hint=f"the body was wrong: {wrong!r}")
    for member, value in _WRONG:
        attempt = bench.order()
        answer = bench.ask(post(attempt, "web-3", body=_with(attempt.body, member, value)))
        said = "missing" if value is _MISSING else repr(value)[:40]
        # Who has asked the provider has taken it for good, however slow the machine is.
        sure = bool(bench.provider.calls_about(attempt.source))
        hint = f"the body was wrong: {member} {said}"
        bench.refused(answer, 400, 422, reading="Amounts", hint=hint, sure=sure)
    for amount in _NO_AMOUNTS:
        refund = bench.refund_of(order, id, 1)
        answer = bench.ask(post(refund, "web-2", body=_with(refund.body, "amount_cents", amount)))
        bench.refused(answer, 400, 422, reading="Amounts", hint=f"a refund of {amount!r}")
    bench.expect_conserved()


@check(points=2, kills=["amounts-in-32-bits"], arena="calm", needs=TAKEN)
def test_amounts_are_exact(bench: Bench) -> None:
    """Amounts from 1 to 10^12 cents come to the provider, to GET and to the events as they were asked for."""
    for amount in (1, 2**31, LARGEST - 1, LARGEST):
        order = bench.order(amount_cents=amount, order_id=f"{bench.wishes.mark} żółć 日本 {amount}")
        answer = bench.post(order, bench.chance.choice(bench.replicas))
        bench.has_status(answer, 201, reading="Amounts", about=order, hint="10^12 is more than 32 bits hold")
        bench.shows_payment(answer, order)
    widest = bench.order(order_id=bench.wishes.mark.ljust(128, "o"))
    bench.pay(widest)
    bench.expect_conserved(reading="Amounts")


@check(
    points=2,
    kills=["refunds-only-in-the-table", "refunded-cents-stays-zero", "one-provider-key-for-all-refunds"],
    arena="calm",
    needs=TAKEN,
)
def test_a_refund_is_taken(bench: Bench) -> None:
    """A refund answers 201, reaches the provider once, and shows in refunded_cents; several add up."""
    order = bench.order(amount_cents=900)
    id = bench.pay(order)
    for count, process in enumerate(bench.replicas, start=1):
        refund = bench.refund_of(order, id, 200)
        answer = bench.refund(refund, process)

        members = {"amount_cents": 200, "status": "succeeded"}
        bench.tells(answer, members, reading="Refunds", about=refund)
        bench.names_payment(answer, refund)
        shown = bench.read(order, id, "web-1")
        bench.tells(shown, {"refunded_cents": 200 * count}, reading="Refunds", about=refund)
    bench.expect_conserved(reading="Refunds")


@check(points=2, kills=["refuses-the-last-cent", "a-refund-too-large-is-a-500"], arena="calm", needs=REFUNDS)
def test_a_refund_too_large_is_409(bench: Bench) -> None:
    """A refund of more than is left answers 409 and does nothing; one of exactly what is left is taken."""
    order = bench.order(amount_cents=1000)
    id = bench.pay(order)
    for amount in (1001, LARGEST):
        refund = bench.refund_of(order, id, amount)
        bench.refused(bench.post(refund), 409, reading="Refunds", about=refund)
    bench.refund(bench.refund_of(order, id, 400), "web-2")
    refused = bench.refund_of(order, id, 601)
    bench.refused(bench.post(refused), 409, reading="Refunds", about=refused)
    last = bench.refund_of(order, id, 600)
    bench.refund(last, "web-3")
    beyond = bench.refund_of(order, id, 1)
    bench.refused(bench.post(beyond), 409, reading="Refunds", about=beyond)
    bench.expect_conserved(reading="Refunds")


@check(points=2, kills=["dies-at-sigterm"], arena="staged", needs=TAKEN)
def test_sigterm_finishes_what_was_begun(bench: Bench) -> None:
    """On SIGTERM a process finishes the payment it has begun and ends with code 0 within 8 s."""
    order = bench.order()
    answer, code = bench.terminate_during_a_payment(order, "web-2")

    bench.has_status(answer, 201, reading="Starting and stopping", about=order)
    expect(
        "no end within 8 s" if code is None else code,
        equals=0,
        unit="as the exit code after SIGTERM",
        hints=[(lambda code: code in (-15, 143), "SIGTERM has to be caught: finish, then end")],
        evidence=lambda: bench.output("web-2"),
        reading="Starting and stopping",
    )
    bench.arena.heal()
    bench.expect_conserved()


_MISSING = object()
_NO_OBJECTS = (b"", b"{", b"\xff\xfe", b"[]", b'"text"', b"null")
_NO_AMOUNTS: tuple[Any, ...] = (0, -5, 1.5, "5", "", None, True, [], {}, _MISSING)
_NO_STRINGS: tuple[Any, ...] = ("", "x" * 129, 5, None, [], {}, _MISSING)
_NO_CURRENCIES: tuple[Any, ...] = ("", "EU", "EURO", "eur", "E1R", 978, None, [], _MISSING)
_WRONG = (
    *(("amount_cents", amount) for amount in (*_NO_AMOUNTS, LARGEST + 1, 10**40)),
    *(("currency", currency) for currency in _NO_CURRENCIES),
    *(("order_id", id) for id in _NO_STRINGS),
    *(("source", source) for source in _NO_STRINGS),
)


def _with(right: dict[str, object], member: str, value: object) -> dict[str, object]:
    """The body with one member changed, or without it."""
    return {name: was for name, was in {**right, member: value}.items() if was is not _MISSING}
