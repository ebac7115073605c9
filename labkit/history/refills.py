"""What comes back to a client that spent all and then kept silent."""

from __future__ import annotations

import math
from collections.abc import Sequence

from labkit.history.bursts import soonest_refusal
from labkit.history.decision import (
    Decision,
    Violation,
    admitted,
    budget,
    in_order,
    possibly_admitted,
    rejected,
    spoken,
)
from labkit.history.limiting import Algorithm, Bound, at_least, at_most, count_beyond


def refill_shortfall(
    spend: Sequence[Decision], later: Sequence[Decision], *, limit: int, window: float, algorithm: str
) -> Violation | None:
    """Fewer admitted of a burst than a silence before it must have brought back.

    2W of silence bring back `limit` under every algorithm, and S seconds bring back limit * S / W,
    give or take one, to a token bucket. `spend` ends with the last request before the silence, `later`
    are all requests after it; the silence is what lies proven between them.
    """
    if not later:
        return None
    silence = _silence(spend, later)
    brought = _brought_back(silence, limit=limit, window=window, algorithm=algorithm)
    owed = min(brought, len(later))
    got = len(possibly_admitted(later))
    if got >= owed:
        return None
    witness, refusal = soonest_refusal(later)
    return Violation(
        rule=f"{spoken(silence)} of silence bring back at least {brought}"
        f" to a {algorithm} limiter of {budget(limit, window)}",
        expected=f"at least {owed} of {len(later)} requests admitted after {spoken(silence)} of silence",
        observed=f"{got} of {len(later)} requests admitted",
        witness=(*_last(spend), *witness),
        contradiction=refusal,
    )


def refill_excess(
    spend: Sequence[Decision], later: Sequence[Decision], *, limit: int, window: float, algorithm: str
) -> Violation | None:
    """More admitted of a burst than a token bucket that was empty before it can have regained.

    The last rejection of `spend` proves the bucket empty, that is, below one token. Other algorithms
    bring back all at once: `over_admission` judges them.
    """
    empty = [each for each in rejected(spend) if all(each.received <= after.sent for after in later)]
    if Algorithm(algorithm) is not Algorithm.TOKEN_BUCKET or not empty:
        return None
    anchor = max(empty, key=lambda each: each.sent)
    bound = _regained(limit=limit, window=window)
    answers = sorted(admitted(later), key=lambda each: each.received)
    count = count_beyond([each.received for each in answers], anchor.sent, bound)
    if count is None:
        return None
    length = answers[count - 1].received - anchor.sent
    most, told = bound(length), spoken(length)
    return Violation(
        rule=f"an empty token bucket of {budget(limit, window)} regains at most {most} in {told}",
        expected=f"at most {most} admitted within {told} of a rejection",
        observed=f"{count} admitted within {told} of a rejection",
        witness=in_order([anchor, *answers[:count]]),
        contradiction=answers[count - 1],
    )


def _regained(*, limit: int, window: float) -> Bound:
    """The most that a bucket with less than one token admits in the next T seconds of our clock."""

    def bound(length: float) -> int:
        # strictly fewer than 1 + refill
        return math.ceil(1 + limit * at_most(length) / window) - 1

    return bound


def _silence(spend: Sequence[Decision], later: Sequence[Decision]) -> float:
    """The seconds that lie for certain between the last decision of one and the first of the other."""
    if not spend:
        return math.inf
    return min(each.sent for each in later) - _last(spend)[0].received


def _last(spend: Sequence[Decision]) -> list[Decision]:
    return [max(spend, key=lambda each: each.received)] if spend else []


def _brought_back(silence: float, *, limit: int, window: float, algorithm: str) -> int:
    windows = at_least(silence) / window
    if windows >= 2:
        return limit
    if Algorithm(algorithm) is not Algorithm.TOKEN_BUCKET:
        return 0
    return min(limit, math.floor(limit * windows)) - 1
