"""Whether a client that never stops asking is let through now and then."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from labkit.history import Decision, Outcome, Violation

# In windows. Without an admission for so long, one whole window at least has admitted nothing. The slowest
# right limiters need less: those that count whole slices, a little more than one.
LONGEST_GAP = 1.5


def starvation(decisions: Sequence[Decision], *, limit: int, window: float) -> Violation | None:
    """A stretch of more than 1.5 W in which a client was rejected from end to end, and admitted never.

    `decisions` are all requests of one client. An admission counts wherever it may have been decided.
    """
    possible = [each for each in decisions if each.possibly_admitted]
    sent = sorted(each.sent for each in possible)
    received = sorted(each.received for each in possible)
    refusals = sorted(
        (each for each in decisions if each.outcome is Outcome.REJECTED), key=lambda each: each.received
    )
    best: tuple[float, Decision, Decision] | None = None
    first: Decision | None = None
    for last in refusals:
        if first is None or _any_between(sent, received, first.received, last.sent):
            first = last
            continue
        if best is None or last.sent - first.received > best[0]:
            best = (last.sent - first.received, first, last)
    if best is None or best[0] <= LONGEST_GAP * window:
        return None
    length, first, last = best
    return Violation(
        rule="what was rejected consumes nothing: a client that asks on and on is admitted in each window",
        expected=f"some of {limit} requests admitted within {length:.2f} s",
        observed="none",
        witness=(first, last),
        contradiction=last,
    )


def _any_between(sent: Sequence[float], received: Sequence[float], begin: float, end: float) -> bool:
    """Whether some interval [sent, received] reaches into [begin, end]."""
    return bisect_right(sent, end) > bisect_left(received, begin)
