"""What the laws make of unknown outcomes, wide intervals and tolerances."""

from __future__ import annotations

import math
import time

import pytest

from labkit.history import (
    Algorithm,
    Decision,
    Outcome,
    burst_shortfall,
    over_admission,
    refill_shortfall,
    unexplained_rejection,
    unjustified_rejection,
)
from labkit.history.decision import spoken


def admitted(sent: float, received: float) -> Decision:
    return Decision(sent, received, Outcome.ADMITTED)


def rejected(sent: float, received: float) -> Decision:
    return Decision(sent, received, Outcome.REJECTED)


def unknown(sent: float, received: float = math.inf) -> Decision:
    return Decision(sent, received, Outcome.UNKNOWN)


def test_an_answer_before_its_request_is_refused() -> None:
    with pytest.raises(ValueError, match="before it was sent"):
        admitted(2.0, 1.0)


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(ValueError, match="leaky-bucket"):
        over_admission([], limit=1, window=1.0, algorithm="leaky-bucket")


def test_nothing_proves_nothing() -> None:
    assert over_admission([], limit=1, window=1.0, algorithm="sliding-log") is None
    assert burst_shortfall([], limit=1) is None
    assert unjustified_rejection([], limit=1, window=1.0) is None
    assert refill_shortfall([], [], limit=1, window=1.0, algorithm="token-bucket") is None


def test_unknown_outcomes_never_count_as_admitted_against_the_limiter() -> None:
    history = [admitted(0, 0.01), unknown(0, 0.01), unknown(0, 0.01)]

    assert over_admission(history, limit=1, window=1.0, algorithm="sliding-log") is None


def test_unknown_outcomes_count_as_admitted_for_the_limiter() -> None:
    history = [unknown(0), rejected(5, 5.01)]

    assert burst_shortfall(history, limit=1) is None
    assert unjustified_rejection(history, limit=1, window=1.0) is None
    assert unexplained_rejection(history, limit=1, window=1.0) is None


def test_an_unknown_request_is_spent_once_its_process_is_dead() -> None:
    history = [unknown(0, 1.0), rejected(5, 5.01)]

    assert unjustified_rejection(history, limit=1, window=1.0) is not None


def test_a_slow_answer_hides_an_excess() -> None:
    """Two admissions that may lie a window apart break no limit of one."""
    assert (
        over_admission([admitted(0, 1), admitted(0, 1)], limit=1, window=1.0, algorithm="sliding-log") is None
    )
    assert over_admission([admitted(0, 0.9), admitted(0, 0.9)], limit=1, window=1.0, algorithm="sliding-log")


def test_clocks_are_forgiven_five_milliseconds_and_a_thousandth() -> None:
    def apart(seconds: float) -> list[Decision]:
        return [admitted(0, 0), admitted(seconds, seconds)]

    assert over_admission(apart(0.9935), limit=1, window=1.0, algorithm="sliding-log") is not None
    assert over_admission(apart(0.9945), limit=1, window=1.0, algorithm="sliding-log") is None


def test_a_rejection_may_precede_an_admission_that_was_sent_later() -> None:
    overlapping = [admitted(0.5, 0.6), rejected(0.0, 1.0)]

    assert unjustified_rejection(overlapping, limit=1, window=1.0) is None
    assert unjustified_rejection([admitted(1.1, 1.2), rejected(0.0, 1.0)], limit=1, window=1.0) is not None


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_long_lawful_history_is_read_fast(algorithm: Algorithm) -> None:
    history = [admitted(index * 0.2, index * 0.2 + 0.01) for index in range(3000)]

    begin = time.process_time()
    assert over_admission(history, limit=10, window=2.0, algorithm=algorithm) is None
    assert time.process_time() - begin < 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0004, "0.4 ms"), (0.0123, "12.3 ms"), (1.0, "1 s"), (2.345, "2.35 s"), (math.inf, "ever")],
)
def test_times_as_a_reader_says_them(seconds: float, words: str) -> None:
    assert spoken(seconds) == words
