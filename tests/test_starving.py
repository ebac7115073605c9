"""The rate limiter's law of the client that never stops asking."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labkit.history import Decision, Outcome
from labkit.judging import load_bench

GRADER = Path(__file__).parent.parent / "graders" / "rate_limiter"
WINDOW = 1.0


@pytest.fixture(scope="module")
def starvation() -> Callable[..., Any]:
    bench = load_bench(GRADER)
    return importlib.import_module(f"{bench.__package__}.starving").starvation


def asked(*outcomes: tuple[float, Outcome], takes: float = 0.01) -> list[Decision]:
    return [Decision(at, at + takes, outcome) for at, outcome in outcomes]


def rejections(begin: float, end: float, every: float = 0.1) -> list[tuple[float, Outcome]]:
    count = round((end - begin) / every)
    return [(begin + number * every, Outcome.REJECTED) for number in range(count + 1)]


def test_rejections_for_more_than_a_window_and_a_half_are_starvation(starvation):
    history = asked((0.0, Outcome.ADMITTED), *rejections(0.1, 2.0))

    violation = starvation(history, limit=1, window=WINDOW)

    assert violation is not None
    assert [round(each.sent, 1) for each in violation.witness] == [0.1, 2.0]


def test_an_admission_in_between_ends_the_stretch(starvation):
    history = asked(
        (0.0, Outcome.ADMITTED), *rejections(0.1, 1.2), (1.3, Outcome.ADMITTED), *rejections(1.4, 2.6)
    )

    assert starvation(history, limit=1, window=WINDOW) is None


def test_what_is_not_known_may_have_been_an_admission(starvation):
    history = asked(*rejections(0.0, 1.0), (1.1, Outcome.UNKNOWN), *rejections(1.2, 2.4))

    assert starvation(history, limit=1, window=WINDOW) is None


def test_an_admission_that_took_long_may_lie_anywhere_in_the_stretch(starvation):
    long = [Decision(0.0, 1.2, Outcome.ADMITTED)]

    assert starvation([*long, *asked(*rejections(0.1, 2.0))], limit=1, window=WINDOW) is None


def test_silence_is_no_starvation(starvation):
    assert starvation(asked(*rejections(0.0, 0.5)), limit=1, window=WINDOW) is None
    assert starvation([], limit=1, window=WINDOW) is None
