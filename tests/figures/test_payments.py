"""What the figures of the payments lab show of races and crashes is what the brief says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

FIGURES = Path("labs/payments/figures").resolve()
# Race -> charges and payments in the end, and the answers, by request.
PAYMENTS = {
    "FRESH_KEY": (2, 1, {1: 201}),
    "KEPT_KEY": (1, 1, {1: 201}),
    "LOOKED_UP": (2, 2, {0: 201, 1: 201}),
    "INSERTED": (1, 1, {0: 201, 1: 409, 2: 201}),
    "BOTH_BOOK": (1, 2, {0: 201, 1: 201}),
    "OWNER_BOOKS": (1, 1, {0: 201, 1: 201}),
}
# Race -> what is left at the provider and by the table.
REFUNDS = {
    "READ_THEN_WRITTEN": (-20, 40, {0: 201, 1: 201}),
    "RESERVED": (40, 40, {0: 201, 1: 409}),
}
RACES = [*PAYMENTS, *REFUNDS]


@pytest.fixture
def draw(drawing: Callable[[Path], ModuleType]) -> ModuleType:
    return drawing(FIGURES)


@pytest.mark.parametrize("name", RACES)
def test_each_race_ends_as_the_brief_tells(draw: ModuleType, name: str) -> None:
    outcome = draw.play(getattr(draw, name), paid=draw.PAID if name in REFUNDS else 0)

    ends = (outcome.provider[-1][1], outcome.table[-1][1], outcome.answers)
    assert ends == (PAYMENTS | REFUNDS)[name]


@pytest.mark.parametrize("name", RACES)
def test_steps_lie_within_their_requests_and_in_order(draw: ModuleType, name: str) -> None:
    for request in getattr(draw, name):
        times = [request.sent]
        for step in request.steps:
            times += [step.at, max(step.at, step.until)]
        assert times == sorted(times)
        assert times[-1] < request.answered <= draw.SPAN


def test_who_does_not_own_the_key_is_answered_when_its_owner_has_booked(draw: ModuleType) -> None:
    booked = draw.play(draw.OWNER_BOOKS).table[-1][0]

    assert all(request.answered > booked for request in draw.OWNER_BOOKS)


def test_the_two_crashes_differ_in_the_key_alone(draw: ModuleType) -> None:
    fresh, kept = (
        [replace(step, key="") for request in race for step in request.steps]
        for race in (draw.FRESH_KEY, draw.KEPT_KEY)
    )

    assert fresh == kept


def test_a_relay_that_remembers_the_last_id_skips_the_slow_commit(draw: ModuleType) -> None:
    remembers, marks = (
        [n for _, found in draw.relay(draw.WRITERS, draw.POLLS, marks=marks) for n in found]
        for marks in (False, True)
    )

    assert remembers == [8, 9]
    assert marks == [8, 9, 7]
    assert all(one.committed < draw.POLLS[-1] for one in draw.WRITERS)
