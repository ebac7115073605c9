"""What the API refuses, whether it can take jobs or not."""

from __future__ import annotations

import json

import pytest

from tests.service import Web


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"key": "k", "payload": {"n": NaN}}',
        b'{"key": "\\ud800", "payload": {}}',
        json.dumps({"key": "k"}).encode(),
        json.dumps({"payload": {}}).encode(),
        json.dumps({"key": "", "payload": {}}).encode(),
        json.dumps({"key": 1, "payload": {}}).encode(),
        json.dumps({"key": None, "payload": {}}).encode(),
        json.dumps({"key": "k" * 129, "payload": {}}).encode(),
        json.dumps({"key": "k", "payload": []}).encode(),
        json.dumps({"key": "k", "payload": "{}"}).encode(),
        json.dumps({"key": "k", "payload": None}).encode(),
        json.dumps({"key": "k", "payload": {"x": "x" * 66_000}}).encode(),
        json.dumps({"key": "k", "payload": {"x": "x" * 2_000_000}}).encode(),
    ],
    ids=lambda body: body[:40].decode(errors="replace"),
)
def test_a_bad_body_is_the_clients_fault(lonely_web: Web, body: bytes) -> None:
    answer = lonely_web.post("/jobs", body)

    assert answer.status_code in (400, 422)
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.json()["status"] == answer.status_code


@pytest.mark.parametrize(
    "job",
    [
        {"key": "k" * 128, "payload": {}},
        {"key": "Größe 規格 😀", "payload": {"deep": [[{"er": None}]]}},
        {"key": "k", "payload": {"x": "é" * 32_000}},
        {"key": "k", "payload": {"beyond floats": 9007199254740993}},
    ],
    ids=lambda job: job["key"][:10],
)
def test_a_good_body_is_not(lonely_web: Web, job: dict[str, object]) -> None:
    """Nothing can take it here; but that is not the client's fault."""
    assert lonely_web.post("/jobs", json.dumps(job).encode()).status_code == 503


def test_what_it_does_not_know_is_a_problem_document(lonely_web: Web) -> None:
    answer = lonely_web.get("/nowhere")

    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.json() == {"status": 404, "title": "Not Found"}
