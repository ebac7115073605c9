"""When a limiter may turn a request away.

Read in the submission's favour throughout: an admission counts as soon as it may have been decided
before the rejection, at the youngest age that its interval allows, and unknown outcomes count too.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from labkit.history.decision import (
    Decision,
    Violation,
    budget,
    in_order,
    possibly_admitted,
    rejected,
    spoken,
)
from labkit.history.limiting import at_least, at_most


def unjustified_rejection(decisions: Iterable[Decision], *, limit: int, window: float) -> Violation | None:
    """A rejection with fewer than `limit` admissions possible in the 2W seconds before it.

    `decisions` are all requests of one client, from 2W before the first rejection at least; `window`
    is in seconds. No right algorithm does it: a sliding counter looks back by 2W, the others by W.
    """
    history = list(decisions)
    candidates = possibly_admitted(history)
    sent = sorted(each.sent for each in candidates)
    received = sorted(each.received for each in candidates)

    def possible(refusal: Decision) -> int:
        too_old = bisect_left(received, refusal.sent - at_most(2 * window))
        return bisect_right(sent, refusal.received) - too_old

    unlawful = [each for each in rejected(history) if possible(each) < limit]
    refusal = min(unlawful, key=lambda each: (possible(each), each.sent), default=None)
    if refusal is None:
        return None
    rule = f"a rejection needs {limit} requests admitted in the {spoken(2 * window)} before it"
    return _convict(refusal, candidates, rule=rule, window=window)


def unexplained_rejection(decisions: Iterable[Decision], *, limit: int, window: float) -> Violation | None:
    """A rejection that none of the four algorithms can have made, however its windows lie.

    The strongest reason to reject that any of them can have is a sliding counter's estimate: a count of the
    admissions younger than x, plus those of the window before it weighted by 1 - x/W, for whatever phase x.
    It must exceed L - 1. With x = W it counts the last W seconds, which is what a fixed window, a log
    and a bucket have to go by. `decisions` are all requests of one client, `window` is in seconds.
    """
    history = list(decisions)
    candidates = possibly_admitted(history)

    def estimate(refusal: Decision) -> float:
        return _highest_estimate(_youngest_ages(refusal, candidates, window), window)

    unlawful = [each for each in rejected(history) if estimate(each) <= limit - 1]
    refusal = min(unlawful, key=lambda each: (estimate(each), each.sent), default=None)
    if refusal is None:
        return None
    rule = f"no algorithm with {budget(limit, window)} rejects a request after so few were admitted"
    return _convict(refusal, candidates, rule=rule, window=window)


def _youngest_ages(refusal: Decision, candidates: Sequence[Decision], window: float) -> list[float]:
    """How old each admission was at the least when the request was rejected; sorted, up to 2W."""
    ages = (at_least(refusal.sent - each.received) for each in candidates if each.sent <= refusal.received)
    return sorted(age for age in ages if age <= 2 * window)


def _highest_estimate(ages: Sequence[float], window: float) -> float:
    """The largest sliding-counter estimate over all phases; it can only rise where an age enters a window."""
    entering = {0.0, *ages, *(age - window for age in ages)}
    phases = [phase for phase in entering if 0 <= phase <= window]

    def estimate(phase: float) -> float:
        current = bisect_right(ages, phase)
        # an age that enters just now must not fall out again by rounding
        both = bisect_right(ages, phase + window + 1e-9)
        return current + (1 - phase / window) * (both - current)

    return max(map(estimate, phases))


def _convict(refusal: Decision, candidates: Sequence[Decision], *, rule: str, window: float) -> Violation:
    oldest = refusal.sent - at_most(2 * window)
    before = [each for each in candidates if each.sent <= refusal.received and each.received >= oldest]
    recent = [each for each in before if each.received >= refusal.sent - at_most(window)]
    return Violation(
        rule=rule,
        expected="the request admitted",
        observed=f"rejected, after at most {len(recent)} admitted within {spoken(window)}"
        f" and {len(before)} within {spoken(2 * window)}",
        witness=in_order([*before, refusal]),
        contradiction=refusal,
    )
