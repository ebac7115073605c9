"""How much a limiter of L requests per window of W seconds may admit in any stretch of time.

A stretch is proven by its admissions alone: all of them were decided between the first sending
and the last answer, T seconds apart. If they are more than any limiter of the declared kind can
admit within T, the law is broken wherever in their intervals the decisions fell.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum

from labkit.history.decision import Decision, Violation, admitted, budget, in_order, spoken

# A limiter may keep time in whole milliseconds, round a window's edge and a stamp each its own way,
# and read a clock that an event loop refreshed a little earlier.
TICK = 0.005
# Its clock may be slewed against ours: NTP turns a clock by up to 500 ppm, each of two their own way.
DRIFT = 0.001


class Algorithm(StrEnum):
    """What a submission declares; GCRA is a token bucket."""

    FIXED_WINDOW = "fixed-window"
    SLIDING_LOG = "sliding-log"
    SLIDING_COUNTER = "sliding-counter"
    TOKEN_BUCKET = "token-bucket"  # noqa: S105 - no password


Bound = Callable[[float], int]


def at_most(seconds: float) -> float:
    """The longest that the limiter's own clock may have shown for a time of ours."""
    return seconds * (1 + DRIFT) + TICK


def at_least(seconds: float) -> float:
    """The shortest that the limiter's own clock may have shown for a time of ours; never below 0."""
    return max(0.0, seconds * (1 - DRIFT) - TICK)


def over_admission(
    decisions: Iterable[Decision], *, limit: int, window: float, algorithm: str
) -> Violation | None:
    """More of one client's requests admitted within some stretch of time than the algorithm ever admits.

    `decisions` are requests of one client in any order, `window` is in seconds. About
    n²/(2·limit) steps for n admissions. Raises ValueError for an unknown algorithm.
    """
    bound = admission_bound(limit=limit, window=window, algorithm=algorithm)
    witness = fewest_beyond(admitted(decisions), bound)
    if witness is None:
        return None
    length = stretch(witness)
    most, told = bound(length), spoken(length)
    return Violation(
        rule=f"a {algorithm} limiter of {budget(limit, window)} admits at most {most} in any {told}",
        expected=f"at most {most} admitted within {told}",
        observed=f"{len(witness)} admitted within {told}",
        witness=in_order(witness),
        contradiction=max(witness, key=lambda decision: decision.received),
    )


def admission_bound(*, limit: int, window: float, algorithm: str) -> Bound:
    """The most that the algorithm admits within T seconds of our clock, whatever came before."""
    kind = Algorithm(algorithm)

    def bound(length: float) -> int:
        windows = at_most(length) / window
        most = limit * (math.ceil(windows) + 1)
        if kind is not Algorithm.FIXED_WINDOW:
            most = min(most, math.floor(limit * (1 + windows)) + 1)
        if kind is Algorithm.SLIDING_LOG:
            most = min(most, limit * math.ceil(windows))
        return most

    return bound


def stretch(decisions: Sequence[Decision]) -> float:
    """Seconds from the first sending to the last answer."""
    return max(each.received for each in decisions) - min(each.sent for each in decisions)


def fewest_beyond(decisions: Sequence[Decision], bound: Bound) -> list[Decision] | None:
    """The smallest set of decisions that is larger than the bound on its stretch; of such, the shortest.

    `bound` maps seconds to a count and never falls. None if every stretch keeps to it.
    """
    best: tuple[int, float, float] | None = None
    answers: list[float] = []
    for first in sorted(decisions, key=lambda decision: decision.sent, reverse=True):
        insort(answers, first.received)
        count = count_beyond(answers, first.sent, bound)
        if count is None:
            continue
        found = (count, answers[count - 1] - first.sent, first.sent)
        best = found if best is None else min(best, found)
    if best is None:
        return None
    count, length, start = best
    inside = [each for each in decisions if each.sent >= start and each.received - start <= length]
    return sorted(inside, key=lambda decision: decision.received)[:count]


def count_beyond(answers: Sequence[float], start: float, bound: Bound) -> int | None:
    """How many of the sorted answers, counted from the first, it takes to pass the bound on T since start."""
    index = 0
    while index < len(answers):
        allowed = bound(answers[index] - start)
        if index + 1 > allowed:
            return index + 1
        # later stretches are longer, so are allowed at least as many: fewer cannot pass
        index = allowed
    return None
