"""What the API promises whether it caches or not."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.conftest import StartReplicas
from tests.replica import Replica

LAMP = {"name": "Lamp", "description": None, "price_cents": 1999, "attributes": {"colours": ["red"]}}


def test_put_creates_then_replaces(replica: Replica, fresh_id: int) -> None:
    created = replica.put(f"/products/{fresh_id}", LAMP)
    replaced = replica.put(f"/products/{fresh_id}", {**LAMP, "price_cents": 0})

    assert (created.status_code, created.json()) == (201, {**LAMP, "id": fresh_id, "version": 1})
    assert (replaced.status_code, replaced.json()["version"]) == (200, 2)
    assert replica.get(f"/products/{fresh_id}").json() == replaced.json()


def test_what_is_missing_is_404(replica: Replica, fresh_id: int) -> None:
    assert replica.get(f"/products/{fresh_id}").status_code == 404
    assert replica.delete(f"/products/{fresh_id}").status_code == 404


def test_delete_removes_and_a_product_made_anew_begins_anew(replica: Replica, fresh_id: int) -> None:
    replica.put(f"/products/{fresh_id}", LAMP)
    replica.put(f"/products/{fresh_id}", LAMP)

    assert replica.delete(f"/products/{fresh_id}").status_code == 204
    assert replica.get(f"/products/{fresh_id}").status_code == 404
    assert replica.put(f"/products/{fresh_id}", LAMP).json()["version"] == 1


def test_a_list_has_the_order_asked_without_what_is_missing(replica: Replica, fresh_id: int) -> None:
    for number in (fresh_id, fresh_id + 2):
        replica.put(f"/products/{number}", LAMP)

    answer = replica.get(f"/products?ids={fresh_id + 2},{fresh_id + 1},{fresh_id}")

    assert [item["id"] for item in answer.json()["items"]] == [fresh_id + 2, fresh_id]


@pytest.mark.parametrize("ids", ["", "1,", "a", "0", "-1", ",".join(["1"] * 101)])
def test_a_list_of_anything_but_1_to_100_ids_is_refused(replica: Replica, ids: str) -> None:
    assert replica.get(f"/products?ids={ids}").status_code == 400


@pytest.mark.parametrize("number", ["0", "-1", "9223372036854775808", "1.5", "x", "%D9%A3"])
def test_what_is_no_id_is_nobodys(replica: Replica, number: str) -> None:
    assert replica.get(f"/products/{number}").status_code in (400, 404)


@pytest.mark.parametrize(
    "attributes",
    [
        '{"empty": "", "no": false, "none": null, "zero": 0, "list": [], "object": {}}',
        '{"beyond floats": 9007199254740993, "tenth": 0.1, "huge": 1e400}',
        '{"Größe": "\\u00e9\\ud83d\\ude00", "deep": {"er": [[{"": [null]}]]}}',
    ],
)
def test_attributes_are_kept_exactly(replica: Replica, fresh_id: int, attributes: str) -> None:
    body = (
        '{"name": "", "description": "", "price_cents": 9223372036854775807, "attributes": '
        + attributes
        + "}"
    )

    replica.put_raw(f"/products/{fresh_id}", body.encode())

    shown = exact(replica.get(f"/products/{fresh_id}").text)
    assert shown["attributes"] == exact(attributes)
    assert (shown["name"], shown["description"], shown["price_cents"]) == ("", "", 2**63 - 1)


def exact(text: str) -> Any:
    """JSON whose numbers are compared as they are, none through a float."""
    return json.loads(text, parse_float=Decimal)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        json.dumps({**LAMP, "name": None}).encode(),
        json.dumps({**LAMP, "name": "nul \0"}).encode(),
        json.dumps({**LAMP, "price_cents": -1}).encode(),
        json.dumps({**LAMP, "price_cents": True}).encode(),
        json.dumps({**LAMP, "price_cents": 2**63}).encode(),
        json.dumps({**LAMP, "attributes": []}).encode(),
        json.dumps({**LAMP, "attributes": {"nan": float("nan")}}).encode(),
        json.dumps({"name": "Lamp"}).encode(),
        json.dumps({**LAMP, "name": "x" * 2_000_000}).encode(),
    ],
    ids=lambda body: body[:40].decode(errors="replace"),
)
def test_a_bad_body_is_the_clients_fault_and_changes_nothing(
    replica: Replica, fresh_id: int, body: bytes
) -> None:
    replica.put(f"/products/{fresh_id}", LAMP)

    answer = replica.put_raw(f"/products/{fresh_id}", body)

    assert answer.status_code in (400, 422)
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert replica.get(f"/products/{fresh_id}").json() == {**LAMP, "id": fresh_id, "version": 1}


def test_a_write_shows_on_every_replica(start_replicas: StartReplicas, fresh_id: int) -> None:
    """Easy without a cache, and the first thing that one breaks."""
    replicas = start_replicas(2)

    for price in range(10):
        writer = replicas[price % 2]
        writer.put(f"/products/{fresh_id}", {**LAMP, "price_cents": price})
        shown = [replica.get(f"/products/{fresh_id}").json()["price_cents"] for replica in replicas]
        assert shown == [price, price]
