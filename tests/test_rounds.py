"""Rounds of the rate limiter's races: one in doubt says nothing, and the others are judged all the same."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labkit.checks import CheckFailed, Inconclusive
from labkit.judging import load_bench

GRADER = Path(__file__).parent.parent / "graders" / "rate_limiter"


class Bench:
    """A bench that has seen something doubtful, or nothing, since it was last told to forget."""

    def __init__(self) -> None:
        self.seen: str | None = None

    def forget(self) -> None:
        self.seen = None

    def doubt(self) -> str | None:
        return self.seen


def passes(_: Bench) -> None:
    pass


def is_inconclusive(_: Bench) -> None:
    raise Inconclusive("the machine was busy")


def fails(_: Bench) -> None:
    raise CheckFailed(expected="10", observed="11")


def fails_in_doubt(bench: Bench) -> None:
    bench.seen = "the service was starved"
    fails(bench)


def fails_surely(bench: Bench) -> None:
    bench.seen = "the service was starved"
    raise CheckFailed(expected="10", observed="20", sure=True)


def passes_in_doubt(bench: Bench) -> None:
    bench.seen = "the service was starved"


@pytest.fixture(scope="module")
def in_rounds() -> Callable[..., None]:
    found: Callable[..., None] = sys.modules[f"{load_bench(GRADER).__package__}.races"].in_rounds
    return found


def ask(in_rounds: Callable[..., None], *rounds: Callable[[Bench], None]) -> list[str]:
    """Judge by these, round by round; names of those that were asked."""
    bench, asked = Bench(), []
    coming: Iterator[Callable[[Bench], None]] = iter(rounds)

    def judge() -> None:
        asked.append((judging := next(coming)).__name__)
        judging(bench)

    in_rounds(bench, len(rounds), judge)
    return asked


@pytest.mark.parametrize("doubtful", [is_inconclusive, fails_in_doubt])
def test_rounds_in_doubt_are_left_out(in_rounds, doubtful):
    assert ask(in_rounds, doubtful, passes, doubtful) == [doubtful.__name__, "passes", doubtful.__name__]


@pytest.mark.parametrize("failing", [fails, fails_surely])
@pytest.mark.parametrize("before", [is_inconclusive, fails_in_doubt, passes_in_doubt, passes])
def test_a_failure_stands_whatever_was_doubtful_before(in_rounds, before, failing):
    with pytest.raises(CheckFailed):
        ask(in_rounds, before, failing, passes)


@pytest.mark.parametrize(
    ("rounds", "why"),
    [
        ((fails_in_doubt, is_inconclusive), "the machine was busy"),
        ((is_inconclusive, fails_in_doubt), "the service was starved"),
    ],
)
def test_nothing_can_be_said_where_all_rounds_are_in_doubt(in_rounds, rounds, why):
    with pytest.raises(Inconclusive, match=why):
        ask(in_rounds, *rounds)
