"""The payments' laws: what is right is never accused, and each mistake breaks the law that names it."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit import Exchange, Request
from labkit.judging import load_bench

GRADER = Path(__file__).parent.parent / "graders" / "payments"


@pytest.fixture(scope="module")
def grader() -> SimpleNamespace:
    package = load_bench(GRADER).__package__
    names = ("orders", "settled", "laws", "announced", "provider", "topic", "settling")
    return SimpleNamespace(**{name: sys.modules[f"{package}.{name}"] for name in names})


def answer(status: int, body: object, **headers: str) -> Exchange:
    return Exchange(
        Request("web-1", "/payments", "POST"),
        1.0,
        1.1,
        0.0,
        status=status,
        headers=headers,
        body=json.dumps(body).encode(),
    )


class Story:
    """A service that does everything right, so that a test can make one thing wrong."""

    def __init__(self, grader: SimpleNamespace, chance: random.Random) -> None:
        self.g = grader
        self.wishes = grader.orders.Wishes(chance)
        self.orders: list[Any] = []
        self.refunds: list[Any] = []
        self.charges: list[Any] = []
        self.given_back: list[Any] = []
        self.shown: dict[str, dict[str, Any]] = {}
        self.records: list[Any] = []

    def pay(self, amount: int = 1000) -> Any:
        order = self.wishes.order(amount_cents=amount)
        number = len(self.orders) + 1
        charge = self.g.provider.Charge(
            f"ch_{number}", 1.0, "web-1", order.key, order.source, amount, order.currency
        )
        payment = {
            **order.body,
            "id": f"pay-{number}",
            "status": "succeeded",
            "charge_id": charge.id,
            "refunded_cents": 0,
        }
        self.charges.append(charge)
        self.orders.append(self.g.settled.Ended(order, [answer(201, payment)] * 2))
        self.shown[payment["id"]] = dict(payment)
        self.tell("payment.succeeded", order, amount)
        return order

    def decline(self) -> Any:
        order = self.wishes.order()
        self.orders.append(self.g.settled.Ended(order, [answer(402, {"title": "declined", "status": 402})]))
        return order

    def refund(self, order: Any, amount: int) -> None:
        id = self.id_of(order)
        charge = next(charge for charge in self.charges if charge.source == order.source)
        self.given_back.append(
            self.g.provider.Refunded(f"re_{len(self.given_back)}", 2.0, "web-1", "k", charge, amount)
        )
        refund = self.g.orders.Refund(order, id, self.wishes.key(), amount)
        said = {
            "id": f"r-{len(self.given_back)}",
            "payment_id": id,
            "amount_cents": amount,
            "status": "succeeded",
        }
        self.refunds.append(self.g.settled.Ended(refund, [answer(201, said)]))
        self.shown[id]["refunded_cents"] += amount
        self.tell("payment.refunded", order, amount)

    @property
    def first(self) -> Any:
        return self.orders[0].wish

    def id_of(self, order: Any) -> str:
        return next(str(ended.told["id"]) for ended in self.orders if ended.wish == order)

    def tell(self, type: str, order: Any, amount: int, **changed: Any) -> None:
        value = {
            "event_id": f"evt-{len(self.records)}",
            "type": type,
            "payment_id": self.id_of(order),
            "merchant_id": order.merchant,
            "order_id": order.order_id,
            "amount_cents": amount,
            "currency": order.currency,
            **changed,
        }
        self.record(value["payment_id"], value)

    def record(self, key: str, value: Any) -> None:
        data = json.dumps(value).encode()
        self.records.append(self.g.topic.Record(0, len(self.records), key, data, value))

    def change(self, place: int, **changed: Any) -> None:
        was = self.records[place]
        value = {**was.value, **changed}
        self.records[place] = replace(was, value=value, data=json.dumps(value).encode())

    @property
    def settled(self) -> Any:
        return self.g.settled.Settled(
            self.orders, self.refunds, self.charges, self.given_back, self.shown, self.records
        )

    def breach(self) -> str | None:
        """Name of the first law that is broken."""
        if self.g.announced.missing_events(self.settled):
            return "missing"
        for law in (*self.g.laws.MONEY, *self.g.announced.ANNOUNCED):
            if law(self.settled) is not None:
                return str(law.__name__)
        return None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # however busy the machine
@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(1, 300), max_size=3)), max_size=6), st.data())
def test_what_is_right_is_never_accused(grader, payments, data):
    story = Story(grader, random.Random(1))  # noqa: S311
    for declined, refunds in payments:
        if declined:
            story.decline()
            continue
        order = story.pay()
        for amount in refunds:
            story.refund(order, amount)
    for place in data.draw(st.lists(st.integers(0, 20), max_size=4)):
        if place < len(story.records):  # a relay that died before it had marked them
            story.records.append(replace(story.records[place], offset=len(story.records)))

    assert story.breach() is None


def charged_twice(story: Story) -> None:
    story.charges.append(replace(story.charges[0], id="ch_again", key="another"))


def charged_another_amount(story: Story) -> None:
    story.charges[0] = replace(story.charges[0], amount_cents=999)


def never_charged(story: Story) -> None:
    story.charges.clear()


def charged_and_402(story: Story) -> None:
    declined = story.decline()
    story.charges.append(replace(story.charges[0], id="ch_9", source=declined.source))


def charged_for_a_bad_request(story: Story) -> None:
    story.charges.append(replace(story.charges[0], id="ch_9", source="somebody's"))


def told_two_payments(story: Story) -> None:
    first = story.orders[0]
    other = answer(201, {**first.told, "id": "pay-other"})
    story.orders[0] = replace(first, answers=[*first.answers, other])


def told_201_and_402(story: Story) -> None:
    first = story.orders[0]
    story.orders[0] = replace(first, answers=[*first.answers, answer(402, {"status": 402})])


def refunded_beyond(story: Story) -> None:
    story.refund(story.first, 700)


def refunded_twice(story: Story) -> None:
    story.given_back.append(story.given_back[0])


def never_refunded(story: Story) -> None:
    story.given_back.clear()


def shows_no_refund(story: Story) -> None:
    story.shown["pay-1"]["refunded_cents"] = 0


def shows_true_for_one(story: Story) -> None:
    story.shown["pay-1"]["charge_id"] = True


def lost_the_event(story: Story) -> None:
    story.records.pop()


def announced_a_decline(story: Story) -> None:
    declined = story.wishes.order()
    story.record("pay-9", {**story.records[0].value, "payment_id": "pay-9", "order_id": declined.order_id})
    story.change(-1, event_id="evt-9")


def announced_under_a_new_id(story: Story) -> None:
    story.record("pay-1", {**story.records[0].value, "event_id": "evt-9"})


def repeated_with_another_amount(story: Story) -> None:
    story.record("pay-1", {**story.records[0].value, "amount_cents": 1})


def refund_announced_first(story: Story) -> None:
    story.records.reverse()


def refund_on_another_partition(story: Story) -> None:
    story.records[1] = replace(story.records[1], partition=1)


def keyed_by_the_order(story: Story) -> None:
    story.records[0] = replace(story.records[0], key=story.first.order_id)


def without_a_currency(story: Story) -> None:
    extra = dict(story.records[0].value)
    story.record("pay-1", {**extra, "currency": None, "event_id": "evt-9"})


def no_json(story: Story) -> None:
    story.records.append(replace(story.records[0], data=b"hello", value=None))


MISTAKES: dict[Callable[[Story], None], str] = {
    charged_twice: "one_charge",
    charged_another_amount: "one_charge",
    never_charged: "one_charge",
    charged_and_402: "one_charge",
    charged_for_a_bad_request: "one_charge",
    told_two_payments: "one_answer",
    told_201_and_402: "one_answer",
    refunded_beyond: "no_refund_beyond",
    refunded_twice: "no_refund_beyond",
    never_refunded: "no_refund_beyond",
    shows_no_refund: "shown_as_taken",
    shows_true_for_one: "shown_as_taken",
    lost_the_event: "missing",
    announced_a_decline: "nothing_else_announced",
    announced_under_a_new_id: "nothing_else_announced",
    repeated_with_another_amount: "repeats_are_identical",
    refund_announced_first: "in_order",
    refund_on_another_partition: "on_one_partition",
    keyed_by_the_order: "well_told",
    without_a_currency: "well_told",
    no_json: "well_told",
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_each_mistake_breaks_its_law(grader, mistake):
    story = Story(grader, random.Random(2))  # noqa: S311
    order = story.pay()
    story.refund(order, 400)
    assert story.breach() is None

    mistake(story)

    assert story.breach() == MISTAKES[mistake]


def test_conservation_adds_up_what_each_of_the_three_tells(grader):
    story = Story(grader, random.Random(3))  # noqa: S311
    order = story.pay(1000)
    story.refund(order, 300)
    story.pay(50)
    assert grader.announced.totals(story.settled) == grader.announced.Totals(750, 750, 750)

    story.shown["pay-2"]["amount_cents"] = 51
    breach = grader.announced.conserved(story.settled)

    assert breach is not None
    assert "751 in the API" in breach.observed


@pytest.mark.parametrize(
    ("refund", "status", "headers", "ended"),
    [
        (False, 201, {}, True),
        (False, 402, {}, True),
        (False, 409, {"idempotent-replayed": "true"}, False),
        (False, 503, {}, False),
        (True, 201, {}, True),
        (True, 402, {}, False),
        (True, 409, {}, False),
        (True, 409, {"idempotent-replayed": "true"}, True),
    ],
)
def test_a_key_has_ended_once_its_answer_is_the_last_word(grader, refund, status, headers, ended):
    wishes = grader.orders.Wishes(random.Random(4))  # noqa: S311
    order = wishes.order()
    wish = grader.orders.Refund(order, "pay-1", "k", 5) if refund else order

    assert grader.settling.is_end(wish, answer(status, {}, **headers)) is ended


def test_every_check_ends_in_conservation():
    """No scenario is over before provider, API and events were compared, but for the gate: one request."""
    for path in GRADER.glob("test_*.py"):
        for body in path.read_text(encoding="utf-8").split("\ndef test_")[1:]:
            name = body.partition("(")[0]
            assert "expect_conserved(" in body.split("\n\n\n")[0] or name == "a_payment_is_taken", name
