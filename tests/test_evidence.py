"""Exchanges as rows: what was sent and what came, the contradiction marked, long stretches shortened."""

from __future__ import annotations

from typing import Any

import pytest

from labkit.client import Done, Exchange, Request
from labkit.evidence import rows_of, shortened
from labkit.result import EvidenceRow


def exchange(**more: Any) -> Exchange:
    facts = {
        "request": Request(process="web-1", path="/api/ping", headers={"X-Api-Key": "k"}),
        "sent": 1.23456,
        "received": 1.3,
        "late_s": 0.0,
        "status": 200,
    }
    return Exchange(**{**facts, **more})


def rows(count: int, *, mark: int | None = None) -> list[EvidenceRow]:
    return [EvidenceRow(at=float(n), who="web-1", what=f"{n}", mark=n == mark) for n in range(count)]


def test_a_row_says_what_was_sent_and_what_came():
    first = exchange(headers={"retry-after": "3", "x-ratelimit-remaining": "0", "server": "x"}, status=429)
    second = exchange(received=2.5)

    assert rows_of([first, second], mark=second) == [
        EvidenceRow(
            at=1.235,
            who="web-1",
            what="GET /api/ping  X-Api-Key: k",
            answer="429  retry-after: 3  x-ratelimit-remaining: 0",
        ),
        EvidenceRow(
            at=1.235,
            who="web-1",
            what="GET /api/ping  X-Api-Key: k",
            answer="200  after 1.27 s",
            mark=True,
        ),
    ]


def test_what_failed_is_said_in_its_words():
    failed = exchange(status=None, failure="no answer within 5 s", done=Done.UNKNOWN)

    assert rows_of([failed])[0].answer == "no answer within 5 s"


def test_long_headers_are_cut_in_both_directions():
    request = Request(process="web-1", path="/", headers={"X-Api-Key": "k" * 129})
    row = rows_of([exchange(request=request, headers={"location": "l" * 5000})])[0]

    assert row.what == f"GET /  X-Api-Key: {'k' * 40}… (129 characters)"
    assert row.answer == f"200  location: {'l' * 40}… (5000 characters)"


@pytest.mark.parametrize("count", [0, 1, 14])
def test_a_short_stretch_is_shown_whole(count):
    assert shortened(rows(count)) == rows(count)


@pytest.mark.parametrize("mark", [None, 0, 3, 8, 50, 98, 99])
def test_a_long_stretch_keeps_its_beginning_and_the_mark_and_counts_what_is_left_out(mark):
    shown = shortened(rows(100, mark=mark))

    kept = [row for row in shown if row.who]
    gaps = [int(row.what.split()[1]) for row in shown if not row.who]
    assert [row.what for row in kept[:7]] == [str(n) for n in range(7)]
    assert len(kept) + sum(gaps) == 100
    assert len(kept) <= 14
    assert [row.what for row in kept if row.mark] == ([] if mark is None else [str(mark)])
    if mark is None:
        assert kept[-1].what == "99"
    times = [row.at for row in shown]
    assert times == sorted(times)
