"""The pretend provider behaves as the real one is said to: what is built on it rests on that."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from provider.server import Provider


def charge(provider: Provider, key: str, **wanted: Any) -> requests.Response:
    body = {"amount_cents": 500, "currency": "EUR", "source": "card", "reference": key, **wanted}
    return requests.post(f"{provider.url}/charges", json=body, headers={"Idempotency-Key": key}, timeout=10)


def charges(provider: Provider, key: str) -> int:
    return sum(charge.reference == key for charge in provider.ledger.charges)


def test_a_repeated_key_gets_the_first_answer_and_charges_nothing(provider: Provider, key: str) -> None:
    first, second = charge(provider, key), charge(provider, key)

    assert (first.status_code, first.json()["status"]) == (201, "succeeded")
    assert second.json() == first.json()
    assert charges(provider, key) == 1


def test_a_source_may_be_declined(provider: Provider, key: str) -> None:
    answer = charge(provider, key, source="declined")

    assert (answer.status_code, answer.json()) == (402, {"status": "declined"})
    assert charges(provider, key) == 0


def test_it_may_be_unavailable_before_it_does_anything(provider: Provider, key: str) -> None:
    assert charge(provider, key, source="unavailable").status_code == 503
    assert charges(provider, key) == 0
    assert charge(provider, key, source="unavailable").status_code == 201


def test_it_may_do_its_work_and_cut_the_connection(provider: Provider, key: str) -> None:
    with pytest.raises(requests.ConnectionError):
        charge(provider, key, source="cut")

    assert charges(provider, key) == 1
    assert charge(provider, key, source="cut").status_code == 201
    assert charges(provider, key) == 1


def test_refunds_are_never_more_than_the_charge(provider: Provider, key: str) -> None:
    charge_id = charge(provider, key).json()["id"]

    statuses = [
        requests.post(
            f"{provider.url}/refunds",
            json={"charge_id": charge_id, "amount_cents": 300},
            headers={"Idempotency-Key": refund},
            timeout=10,
        ).status_code
        for refund in (f"{key}-1", f"{key}-1", f"{key}-2")
    ]

    assert statuses == [201, 201, 409]
    [done] = [refund for refund in provider.ledger.refunds if refund["charge_id"] == charge_id]
    assert done["amount_cents"] == 300
