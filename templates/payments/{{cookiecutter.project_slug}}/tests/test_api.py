"""What the API promises whether it takes payments or not."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from app.bodies import BadRequest, read_key
from tests.replica import Replica

ORDER = {"order_id": "order-1", "amount_cents": 1999, "currency": "EUR", "source": "card"}


@pytest.fixture
def paid(table: psycopg.Connection[Any], key: str) -> str:
    """The id of a payment of `shop`, put into the table past the service."""
    table.execute(
        "INSERT INTO payments (id, merchant_id, order_id, amount_cents, currency, charge_id)"
        " VALUES (%s, 'shop', 'order-1', 1999, 'EUR', %s)",
        [f"pay-{key}", f"ch-{key}"],
    )
    return f"pay-{key}"


def test_a_payment_is_shown(replica: Replica, paid: str) -> None:
    answer = replica.get(f"/payments/{paid}")

    assert answer.status_code == 200
    assert answer.json() == {
        "id": paid,
        "order_id": "order-1",
        "amount_cents": 1999,
        "currency": "EUR",
        "status": "succeeded",
        "charge_id": paid.replace("pay", "ch"),
        "refunded_cents": 0,
    }


def test_a_payment_of_another_merchant_is_404(replica: Replica, paid: str, key: str) -> None:
    assert replica.get(f"/payments/{paid}", merchant="other").status_code == 404
    refund = replica.post(f"/payments/{paid}/refunds", {"amount_cents": 1}, key=key, merchant="other")
    assert refund.status_code == 404


@pytest.mark.parametrize("payment_id", ["none", "%00", "%FF", "x" * 1_000])
def test_what_there_is_not_is_404(replica: Replica, payment_id: str) -> None:
    assert replica.get(f"/payments/{payment_id}").status_code == 404


@pytest.mark.parametrize("merchant", [None, "", "m" * 65])
def test_without_a_merchant_nothing_is_answered(replica: Replica, key: str, merchant: str | None) -> None:
    answers = [
        replica.get("/payments/1", merchant=merchant),
        replica.post("/payments", ORDER, key=key, merchant=merchant),
        replica.post("/payments/1/refunds", {"amount_cents": 1}, key=key, merchant=merchant),
    ]

    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert answers[0].headers["Content-Type"].startswith("application/problem+json")


@pytest.mark.parametrize("key", [None, "", '""', "k" * 256])
def test_a_key_of_1_to_255_characters_is_asked_for(replica: Replica, paid: str, key: str | None) -> None:
    assert replica.post("/payments", ORDER, key=key).status_code == 400
    assert replica.post(f"/payments/{paid}/refunds", {"amount_cents": 1}, key=key).status_code == 400


def test_a_key_is_the_same_with_quotes_and_without() -> None:
    assert read_key({"Idempotency-Key": '"abc"'}) == read_key({"Idempotency-Key": "abc"}) == "abc"
    with pytest.raises(BadRequest):
        read_key({"Idempotency-Key": "a\udcff"})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"amount_cents": ' + b"9" * 5_000 + b"}",
        json.dumps({**ORDER, "amount_cents": 0}).encode(),
        json.dumps({**ORDER, "amount_cents": -1}).encode(),
        json.dumps({**ORDER, "amount_cents": 10**12 + 1}).encode(),
        json.dumps({**ORDER, "amount_cents": "100"}).encode(),
        json.dumps({**ORDER, "amount_cents": 0.5}).encode(),
        json.dumps({**ORDER, "amount_cents": True}).encode(),
        json.dumps({**ORDER, "currency": "eur"}).encode(),
        json.dumps({**ORDER, "currency": "EURO"}).encode(),
        json.dumps({**ORDER, "order_id": ""}).encode(),
        json.dumps({**ORDER, "order_id": "x" * 129}).encode(),
        json.dumps({**ORDER, "source": None}).encode(),
        json.dumps({**ORDER, "source": "nul \0"}).encode(),
        json.dumps({"order_id": "order-1"}).encode(),
    ],
    ids=lambda body: body[-60:].decode(errors="replace"),
)
def test_a_bad_body_is_the_clients_fault(replica: Replica, key: str, body: bytes) -> None:
    answer = replica.post("/payments", body, key=key)

    assert answer.status_code in (400, 422)
    assert answer.headers["Content-Type"].startswith("application/problem+json")


@pytest.mark.parametrize("amount", [0, -1, None, "1", 10**12 + 1])
def test_a_bad_refund_is_the_clients_fault(replica: Replica, paid: str, key: str, amount: object) -> None:
    answer = replica.post(f"/payments/{paid}/refunds", {"amount_cents": amount}, key=key)

    assert answer.status_code in (400, 422)
