"""What right limiters do at their corners, each of which one condition of a law is there for."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.history import (
    Decision,
    Outcome,
    burst_excess,
    refill_excess,
    refill_shortfall,
    repeated_excess,
)
from tests.history.limiters import (
    FirstHitCounter,
    FirstHitWindow,
    FixedWindow,
    Limiter,
    SlidingCounter,
    TokenBucket,
)
from tests.history.recording import Recorder
from tests.history.worlds import generator

LIMIT, WINDOW = 2, 60.0
STRADDLE = (-0.004, -0.002, 0.002, 0.004)
"""Seconds around a turn: two on each side."""


def record(limiter: Limiter, moments: Sequence[float], client: str = "c") -> list[Decision]:
    return Recorder(limiter, generator(1)).record(moments, client)


def admissions(history: Sequence[Decision]) -> int:
    return sum(each.outcome is Outcome.ADMITTED for each in history)


def around(turn: float) -> list[float]:
    return [turn + offset for offset in STRADDLE]


def test_one_turn_within_the_bursts_of_many_clients() -> None:
    """Bursts at the same time are all explained by one turn."""
    limiter = FixedWindow(LIMIT, WINDOW)
    histories = [record(limiter, around(WINDOW), f"c{number}") for number in range(6)]

    assert [admissions(each) for each in histories] == [4] * 6
    assert burst_excess(histories, limit=LIMIT, window=WINDOW, algorithm="fixed-window") is None


def test_turns_a_window_apart() -> None:
    limiter = FixedWindow(LIMIT, WINDOW)
    histories = [record(limiter, around(number * WINDOW), f"c{number}") for number in range(1, 7)]

    assert [admissions(each) for each in histories] == [4] * 6
    assert burst_excess(histories, limit=LIMIT, window=WINDOW, algorithm="fixed-window") is None


def test_a_window_that_began_with_the_burst_ends_within_it() -> None:
    """Windows from the first request on turn at a time of each client's own, once a burst lasts that long."""
    limiter = FirstHitWindow(LIMIT, WINDOW)
    starts = [number * 1.3 * WINDOW for number in range(6)]
    histories = [
        record(limiter, [start, start + WINDOW - 0.002, *around(start + WINDOW)[2:]], f"c{start}")
        for start in starts
    ]

    assert [admissions(each) for each in histories] == [4] * 6
    assert burst_excess(histories, limit=LIMIT, window=WINDOW, algorithm="fixed-window") is None


def test_a_window_that_began_before_the_burst_ends_within_it() -> None:
    """Without silence before it, a burst may meet the end of a window that any earlier request began."""
    limiter = FirstHitWindow(LIMIT, WINDOW)
    bursts = [[0.0], around(WINDOW), [2.3 * WINDOW], around(3.3 * WINDOW)]
    histories = [record(limiter, moments) for moments in bursts]

    assert [admissions(each) for each in histories] == [1, 3, 1, 3]
    assert repeated_excess(histories, limit=LIMIT, window=WINDOW, algorithm="fixed-window") is None


def test_a_counter_ends_a_window_after_more_than_one_of_silence() -> None:
    """Its windows may follow from an earlier request for twice their length."""
    limiter = FirstHitCounter(LIMIT, WINDOW)
    bursts = [[0.0], around(2 * WINDOW), [4.3 * WINDOW], around(6.3 * WINDOW)]
    histories = [record(limiter, moments) for moments in bursts]

    assert [admissions(each) for each in histories] == [1, 3, 1, 3]
    assert repeated_excess(histories, limit=LIMIT, window=WINDOW, algorithm="sliding-counter") is None


def test_a_rejection_just_before_the_next_token() -> None:
    """A bucket that rejects may hold all but a token."""
    limiter = TokenBucket(10, 2.0)
    spend = record(limiter, [*[5.0] * 10, 5.19])
    later = record(limiter, [6.01] * 10)

    assert (admissions(spend), admissions(later)) == (10, 5)
    assert refill_excess(spend, later, limit=10, window=2.0, algorithm="token-bucket") is None


def test_half_a_window_brings_back_half_give_or_take_one() -> None:
    def after_half_a_window(admitted: int) -> bool:
        spend = [Decision(0.0, 0.0, Outcome.REJECTED)]
        outcomes = [Outcome.ADMITTED] * admitted + [Outcome.REJECTED] * (10 - admitted)
        later = [Decision(1.01, 1.01, outcome) for outcome in outcomes]
        asked = {"limit": 10, "window": 2.0, "algorithm": "token-bucket"}
        broken = refill_shortfall(spend, later, **asked) or refill_excess(spend, later, **asked)
        return broken is None

    assert [after_half_a_window(admitted) for admitted in (3, 4, 5, 6, 7)] == [False, True, True, True, False]


def test_a_counter_remembers_for_two_windows() -> None:
    limiter = SlidingCounter(10, 2.0)
    spend, later = record(limiter, [10.1] * 10), record(limiter, [13.1] * 10)

    assert (admissions(spend), admissions(later)) == (10, 5)
    assert refill_shortfall(spend, later, limit=10, window=2.0, algorithm="sliding-counter") is None
