"""Stage keys: one key, several requests, one after another."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from labkit import check

from .orders import Wish, post
from .provider import FOR_NOW

if TYPE_CHECKING:
    from .bench import Bench

TAKEN = "a-payment-is-taken"
REFUNDS = "a-refund-is-taken"
REPLAYED = "a-repeated-key-is-replayed"
LONGEST_KEY = 255
# What people write between two words to make one of them.
JOINTS = (":", "-", "_", "/", "|", ".", "")


@check(points=2, kills=["takes-payments-without-a-key", "long-keys-are-cut"], arena="calm", needs=TAKEN)
def test_a_key_is_required(bench: Bench) -> None:
    """A POST without a key, with an empty one or one of over 255 characters is 400 and does nothing."""
    longest = bench.order(key=bench.wishes.key().ljust(LONGEST_KEY, "k"))
    id = bench.pay(longest)
    for key in (None, "", longest.key + "k", longest.key[:-1] + "xyz"):
        order = bench.order()
        attempts = (order, bench.refund_of(longest, id, 1))
        for attempt, process in zip(attempts, ("web-1", "web-2"), strict=True):
            answer = bench.ask(post(attempt, process, Idempotency_Key=key))
            bench.refused(answer, 400, reading="Keys", hint="1 to 255 characters")
        bench.nothing_charged(order.source, reading="Keys", exchange=answer)
    other = replace(bench.order(), key=longest.key[:-1] + "x")
    bench.pay(other, "web-3")
    bench.expect_conserved(reading="Keys")


@check(
    points=2,
    kills=["raw-bytes-are-compared", "replays-without-saying-so", "replays-the-payment-of-today"],
    arena="calm",
    needs=TAKEN,
)
def test_a_repeated_key_is_replayed(bench: Bench) -> None:
    """The same key and body again: the first answer, marked as a replay, however the JSON is laid out."""
    order = bench.order(amount_cents=800)
    order = replace(order, order_id=f"{order.order_id}-é")
    first = bench.post(order)
    bench.has_status(first, 201, reading="Keys", about=order)
    refund = bench.refund_of(order, bench.id_of(order, first), 300)
    refunded = bench.refund(refund)
    for wish, answer in ((order, first), (refund, refunded)):
        for process, body in zip(("web-1", "web-2", "web-3"), _layouts(wish), strict=True):
            bench.replays(
                bench.post(wish, process, body=body),
                answer,
                about=wish,
                reading="What is stored",
                hint="the answer was stored when it was given; keys are compared with the body as JSON",
            )
    bench.expect_conserved(reading="Keys")


@check(points=2, kills=["bodies-are-not-compared", "paths-are-not-compared"], arena="calm", needs=REFUNDS)
def test_another_body_or_path_is_422(bench: Bench) -> None:
    """The same key with another body, or for something else, is 422 and does nothing."""
    order, other = bench.order(amount_cents=800), bench.order(amount_cents=800)
    id, other_id = bench.pay(order), bench.pay(other)
    refund = bench.refund_of(order, id, 100)
    bench.refund(refund)
    source = bench.order().source
    wrong: list[Wish] = [
        replace(order, amount_cents=801),
        replace(order, source=source),
        replace(order, order_id=other.order_id),
        replace(order, currency="CHF"),
        replace(refund, amount_cents=101),
        replace(refund, order=other, payment_id=other_id),
        replace(bench.refund_of(order, id, 100), key=order.key),
    ]
    for attempt in wrong:
        for process in ("web-1", "web-2"):
            answer = bench.ask(post(attempt, process))
            hint = "a key belongs to one request: its method, its path and its body"
            bench.refused(answer, 422, reading="Keys", hint=hint, about=order)
    bench.replays(bench.post(order), bench.answers_to(order)[0], about=order, reading="Keys", hint=UNSPOILT)
    bench.nothing_charged(source, reading="Keys", exchange=answer)
    bench.expect_conserved(reading="Keys")


@check(points=2, kills=["declines-are-tried-again", "a-refusal-frees-the-key"], arena="calm", needs=REFUNDS)
def test_refusals_are_replayed(bench: Bench) -> None:
    """402 and 409 are stored: the same key gets them again, though the provider would say yes by now."""
    declined = bench.order()
    bench.provider.decline(declined.source)
    first = bench.post(declined)
    bench.refused(first, 402, reading="The answers", about=declined)
    bench.provider.approve(declined.source)
    order = bench.order(amount_cents=500)
    id = bench.pay(order)
    too_large = bench.refund_of(order, id, 501)
    refused = bench.post(too_large)
    bench.refused(refused, 409, reading="Refunds", about=too_large)
    for wish, answer in ((declined, first), (too_large, refused)):
        for process in ("web-1", "web-2"):
            hint = "a no is an answer as well: stored, and given again"
            again = bench.post(wish, process)
            bench.replays(again, answer, about=wish, reading="What is stored", hint=hint)
    bench.expect_conserved(reading="What is stored")


@check(points=1, kills=["invalid-requests-take-the-key"], arena="calm", needs=TAKEN)
def test_invalid_requests_leave_the_key_free(bench: Bench) -> None:
    """A key that was sent with an invalid body is free: with a valid one it takes the payment."""
    for wrong in ({"amount_cents": 0}, {"amount_cents": "5"}, {"currency": "euro"}, {"source": None}):
        order = bench.order()
        answer = bench.ask(post(order, "web-1", body={**order.body, **wrong}))
        bench.refused(answer, 400, 422, reading="Amounts")
        hint = "nothing was done under this key, so nothing is stored under it"
        paid = bench.post(order, "web-2")
        bench.has_status(paid, 201, reading="What is stored", hint=hint, about=order)
    bench.expect_conserved(reading="What is stored")


@check(points=1, kills=["quotes-belong-to-the-key"], arena="calm", needs=REPLAYED)
def test_quotes_are_not_part_of_the_key(bench: Bench) -> None:
    """A key may stand in quotes, as the draft standard writes it, or without: it is the same key."""
    for quoted_first in (True, False):
        order = bench.order()
        bare, quoted = order.key, f'"{order.key}"'
        first = bench.post(order, "web-1", Idempotency_Key=quoted if quoted_first else bare)
        bench.has_status(first, 201, reading="Keys", about=order)
        again = bench.post(order, "web-2", Idempotency_Key=bare if quoted_first else quoted)
        hint = "the quotes are how a header writes a string; they are no part of it"
        bench.replays(again, first, about=order, reading="Keys", hint=hint)
    bench.expect_conserved(reading="Keys")


@check(
    points=2,
    kills=[
        "keys-without-the-merchant",
        "provider-key-without-the-merchant",
        "refund-provider-key-without-the-merchant",
        "joins-merchant-and-key",
        "keys-in-small-letters",
    ],
    arena="calm",
    needs=TAKEN,
)
def test_keys_belong_to_a_merchant(bench: Bench) -> None:
    """The same key of another merchant is another key: its payment, or refund, is taken as well."""
    key, refund_key, order_id = bench.wishes.key(), bench.wishes.key(), bench.order().order_id
    for number in range(3):
        merchant = bench.wishes.merchant()
        order = bench.order(merchant=merchant, key=key, order_id=order_id, amount_cents=700 + number)
        answer = bench.post(order, bench.replicas[number])
        hint = "two merchants may think of the same key: what is it unique within?"
        bench.has_status(answer, 201, reading="Merchants", hint=hint, about=order)
        bench.shows_payment(answer, order)
        refund = replace(bench.refund_of(order, bench.id_of(order, answer), 300), key=refund_key)
        refunded = bench.post(refund, bench.replicas[number])
        bench.has_status(refunded, 201, reading="Merchants", hint=hint, about=refund)
    _nearly_alike(bench)
    bench.expect_conserved(reading="Merchants")


def _nearly_alike(bench: Bench) -> None:
    """Two merchants, each with a key of its own, that are the same in a row, or but for capital letters."""
    twins = []
    for joint in JOINTS:
        merchant, word, rest = bench.wishes.merchant(), bench.wishes.word(4), bench.wishes.key()
        twins.append(bench.order(merchant=f"{merchant}{joint}{word}", key=rest))
        twins.append(bench.order(merchant=merchant, key=f"{word}{joint}{rest}"))
    merchant, key = bench.wishes.merchant(), bench.wishes.key()
    for name, spelling in ((merchant, key), (merchant, key.upper()), (merchant.upper(), key)):
        twins.append(bench.order(merchant=name, key=spelling))
    waiting = [(order, bench.wish_for(order, "web-1")) for order in twins]
    hint = "compare merchant and key each for itself, as they came: not in a row, not without their case"
    for order, each in waiting:
        bench.has_status(bench.came(order, each), 201, *FOR_NOW, reading="Merchants", hint=hint, about=order)
    bench.settle(twins, reading="Merchants")
    for order in twins:
        bench.shows_payment(bench.end_of(order), order)


UNSPOILT = "what was refused under a key changes nothing of what the key stands for"


def _layouts(wish: Wish) -> list[bytes]:
    """The same JSON laid out in three ways."""
    members = list(wish.body.items())
    return [
        json.dumps(dict(reversed(members)), separators=(",", ":")).encode(),
        json.dumps(dict(members), indent=4, ensure_ascii=False).encode(),
        json.dumps(dict(members)).replace("amount_cents", "\\u0061mount_cents").encode(),
    ]
