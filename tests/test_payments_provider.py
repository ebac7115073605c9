"""The payment provider that the grader plays: keys, scripts and the ledger."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from labkit import Call, Loop, Reply
from labkit.judging import load_bench

GRADER = Path(__file__).parent.parent / "graders" / "payments"
PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def module() -> ModuleType:
    bench = load_bench(GRADER)
    return sys.modules[f"{bench.__package__}.provider"]


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop.open() as opened:
        yield opened


class Client:
    """Asks the provider as a service would."""

    def __init__(self, loop: Loop, provider: Any) -> None:
        self.loop = loop
        self.provider = provider

    def begin(self, path: str, body: object, key: str | None) -> Any:
        headers = {} if key is None else {"idempotency-key": key}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.loop.begin(self.provider.answer(Call(1.0, "web-1", "POST", path, headers, data)))

    def ask(self, path: str, body: object, key: str | None = "k-1") -> Reply | None:
        reply: Reply | None = self.begin(path, body, key).result(PATIENCE_S)
        return reply

    def charge(self, source: str = "tok-1", key: str | None = "k-1", amount: object = 500) -> Reply | None:
        body = {"amount_cents": amount, "currency": "EUR", "source": source, "reference": "r"}
        return self.ask("/charges", body, key)


@pytest.fixture
def client(loop: Loop, module: ModuleType) -> Client:
    return Client(loop, module.Provider(loop, lambda: 1.0))


def said(reply: Reply | None) -> tuple[int, Any]:
    assert reply is not None
    return reply.status, json.loads(reply.body)


def test_a_repeated_key_gets_the_first_answer_and_does_nothing_more(client):
    first, again = said(client.charge()), said(client.charge(amount=700))

    assert first == again == (201, {"id": "ch_000001", "status": "succeeded"})
    assert [charge.amount_cents for charge in client.provider.charged("tok-1")] == [500]


@pytest.mark.parametrize("keys", [("k-1", "k-2"), (None, None), ("", "")])
def test_another_key_or_none_is_another_charge(client, keys):
    for key in keys:
        client.charge(key=key)

    assert len(client.provider.charged("tok-1")) == 2


def test_refunds_are_of_a_charge_and_have_keys_of_their_own(client):
    client.charge()
    for key in ("k-1", "k-1", "k-2"):
        assert said(client.ask("/refunds", {"charge_id": "ch_000001", "amount_cents": 200}, key))[0] == 201

    assert [refund.amount_cents for refund in client.provider.refunded("tok-1")] == [200, 200]


def test_a_decline_is_remembered_under_its_key_only(client):
    client.provider.decline("tok-1")
    assert said(client.charge()) == (402, {"status": "declined"})
    client.provider.approve("tok-1")

    assert said(client.charge())[0] == 402
    assert said(client.charge(key="k-2"))[0] == 201


def test_turns_are_taken_in_order_and_then_it_answers_at_once(client, module):
    client.provider.script("tok-1", module.FAILS, module.CUTS)

    assert said(client.charge())[0] == 503
    assert client.provider.charged("tok-1") == []
    assert client.charge() is None
    assert len(client.provider.charged("tok-1")) == 1
    assert said(client.charge())[0] == 201
    assert len(client.provider.charged("tok-1")) == 1
    assert [call.said for call in client.provider.calls_about("tok-1")] == [
        "503, nothing done",
        "201, then cut",
        "201",
    ]


def test_what_is_held_before_the_work_may_be_done_by_a_repeat(client, module):
    gate = client.provider.gate()
    client.provider.script("tok-1", module.Turn(seen=gate))
    held = client.begin("/charges", {"amount_cents": 5, "currency": "EUR", "source": "tok-1"}, "k-1")
    assert gate.reached.wait(PATIENCE_S)
    assert client.provider.charged("tok-1") == []

    first = said(client.charge(amount=5))
    gate.open()

    assert said(held.result(PATIENCE_S)) == first
    assert len(client.provider.charged("tok-1")) == 1


def test_a_lost_call_does_nothing(client, module):
    client.provider.script("tok-1", module.Turn(lost=True))

    assert client.charge() is None
    assert client.provider.charged("tok-1") == []


def test_scripts_of_refunds_are_apart(client, module):
    client.provider.script_refunds("tok-1", module.FAILS)

    assert said(client.charge())[0] == 201
    assert said(client.ask("/refunds", {"charge_id": "ch_000001", "amount_cents": 1}))[0] == 503


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/charges", b"{", 400),
        ("/charges", {"amount_cents": "5", "source": "tok-1"}, 400),
        ("/charges", {"amount_cents": True, "source": "tok-1"}, 400),
        ("/charges", {"amount_cents": 5, "source": ["tok-1"]}, 400),
        ("/refunds", {"charge_id": ["ch_000001"], "amount_cents": 5}, 400),
        ("/refunds", {"charge_id": "ch_9", "amount_cents": 5}, 400),
        ("/", {}, 404),
    ],
)
def test_nonsense_is_answered_as_such_and_charges_nothing(client, path, body, status):
    assert said(client.ask(path, body))[0] == status
    assert client.provider.charges == []
