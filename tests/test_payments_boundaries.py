"""Which statements are the steps of a payment, and which its process says anyway."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest

from labkit import Statement
from labkit.judging import load_bench

GRADER = Path(__file__).parent.parent / "graders" / "payments"
POLLS = "SELECT id FROM outbox WHERE sent IS NULL FOR UPDATE SKIP LOCKED"


@pytest.fixture(scope="module")
def boundaries() -> ModuleType:
    bench = load_bench(GRADER)
    return sys.modules[f"{bench.__package__}.boundaries"]


def said(*texts: str, connection: int = 1) -> list[Statement]:
    """Statements on one connection, as the link tells them."""
    statements, within = [], False
    for text in texts:
        statements.append(Statement(0.0, text, within, connection))
        within = text == "BEGIN" or (within and text not in ("COMMIT", "ROLLBACK"))
    return statements


def steps(boundaries: ModuleType, statements: Iterable[Statement], idle: Iterable[str] = ()) -> list[str]:
    return [str(boundary) for boundary in boundaries.boundaries_in(statements, idle)]


def test_beginnings_are_no_steps_and_ends_are(boundaries):
    payment = said("INSERT INTO keys", "BEGIN", "INSERT INTO payments", "INSERT INTO outbox", "COMMIT")

    assert steps(boundaries, payment) == [
        "INSERT INTO keys",
        "INSERT INTO payments",
        "INSERT INTO outbox",
        "COMMIT of INSERT INTO outbox",
    ]


def test_what_is_said_while_nobody_pays_is_no_step_nor_is_its_commit(boundaries):
    relay = said("BEGIN", POLLS, "COMMIT", connection=2)
    payment = said("BEGIN", "INSERT INTO payments", "COMMIT", connection=1)
    mixed = [relay[0], payment[0], relay[1], payment[1], relay[2], payment[2]]

    found = boundaries.boundaries_in(mixed, [POLLS])

    assert list(map(str, found)) == ["INSERT INTO payments", "COMMIT of INSERT INTO payments"]


def test_what_a_relay_says_only_when_there_is_something_is_a_step(boundaries):
    marks = "UPDATE outbox SET sent = now()"
    relay = said("BEGIN", POLLS, marks, "COMMIT")

    assert steps(boundaries, relay, [POLLS]) == [marks, f"COMMIT of {marks}"]


def test_a_commit_is_known_by_its_last_step_whoever_commits_before(boundaries):
    relay = said("BEGIN", POLLS, "DELETE FROM outbox", "COMMIT", connection=2)
    payment = said("BEGIN", "INSERT INTO payments", "COMMIT", connection=1)
    wanted = boundaries.boundaries_in(payment, [POLLS])[-1]
    reached = boundaries.reaches(wanted, [POLLS])

    assert [reached(statement) for statement in [*relay, *payment]] == [False] * 6 + [True]


def test_the_same_statement_again_is_another_boundary(boundaries):
    twice = said("SELECT * FROM keys WHERE id = 17", "SELECT * FROM keys WHERE id = 4")

    assert steps(boundaries, twice) == [
        "SELECT * FROM keys WHERE id = 0",
        "SELECT * FROM keys WHERE id = 0 (2)",
    ]


def test_a_boundary_is_reached_once(boundaries):
    payment = said(
        "BEGIN", "INSERT INTO payments", "COMMIT", "BEGIN", "UPDATE keys SET answer = ''", "COMMIT"
    )
    wanted = boundaries.boundaries_in(payment, ())[-1]
    reached = boundaries.reaches(wanted, ())

    assert [reached(statement) for statement in payment] == [False] * 5 + [True]


def test_commits_of_a_payment_are_told_from_those_of_others(boundaries):
    relay = said("BEGIN", POLLS, "COMMIT", connection=2)
    payment = said("UPDATE keys SET status = ''", "BEGIN", "INSERT INTO payments", "COMMIT")
    second = boundaries.next_commit([POLLS], nth=2)

    assert [second(statement) for statement in [*relay, *payment]] == [False] * 6 + [True]
