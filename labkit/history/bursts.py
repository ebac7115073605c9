"""A burst of a fresh client: exactly L of it are admitted, no more and no fewer.

"No more" needs care where windows are drawn on the clock: one may turn in the middle of a burst,
and both sides then lawfully admit. A window turns at most once in W seconds, so excess that comes
again where no second turn can be is proof.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise

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
from labkit.history.limiting import (
    Algorithm,
    at_least,
    at_most,
    fewest_beyond,
    over_admission,
    stretch,
)

# Windows may begin at a phase that is each client's own, such as a hash of its key. Only chance then
# keeps a turn out of several clients' bursts; this much of it is taken for none.
CHANCE = 1e-6

# The algorithms that give back a whole budget at one moment, when their window turns.
TURNING = (Algorithm.FIXED_WINDOW, Algorithm.SLIDING_COUNTER)

Burst = Sequence[Decision]
Suffices = Callable[[Sequence[list[Decision]]], bool]


def burst_excess(bursts: Sequence[Burst], *, limit: int, window: float, algorithm: str) -> Violation | None:
    """More than `limit` admitted of the bursts of fresh clients, one burst for each client.

    A sliding log or a token bucket is convicted by one burst. A fixed window or a sliding counter is by
    one that no turn of the window explains, else by several that come one after the other, so that
    no one turn explains two of them: four or five bursts of some W/50 each, together shorter than W.
    """
    single = _alone(bursts, limit=limit, window=window, algorithm=algorithm)
    if single is not None or Algorithm(algorithm) not in TURNING:
        return single

    def suffices(excesses: Sequence[list[Decision]]) -> bool:
        share = max(at_most(stretch(excess)) for excess in excesses) / window
        by_chance = math.comb(len(bursts), len(excesses)) * share ** len(excesses)
        return by_chance <= CHANCE and _no_common_turn(excesses, window)

    return _again(bursts, limit=limit, window=window, suffices=suffices)


def repeated_excess(
    bursts: Sequence[Burst], *, limit: int, window: float, algorithm: str
) -> Violation | None:
    """More than `limit` admitted of each of two bursts of one client, with over 2W of silence between.

    `bursts` are all that the client ever sent. Convicts a fixed window or a sliding counter with no part left
    to chance, if the bursts do not lie a multiple of W apart: 2.5 W is best. A log or a bucket falls to one.
    """
    single = _alone(bursts, limit=limit, window=window, algorithm=algorithm)
    if single is not None or Algorithm(algorithm) not in TURNING or not _silent_between(bursts, window):
        return single
    return _again(
        bursts, limit=limit, window=window, suffices=lambda excesses: _no_common_turn(excesses, window)
    )


def burst_shortfall(decisions: Burst, *, limit: int) -> Violation | None:
    """Fewer than `limit` admitted of the first burst of a fresh client, though it asked for that many.

    `decisions` are all that the client ever sent. Unknown outcomes count as admitted.
    """
    owed = min(limit, len(decisions))
    got = len(possibly_admitted(decisions))
    if got >= owed:
        return None
    witness, refusal = soonest_refusal(decisions)
    return Violation(
        rule=f"a client that was never seen before gets {limit} requests through, however fast it sends them",
        expected=f"at least {owed} of {len(decisions)} requests admitted",
        observed=f"{got} of {len(decisions)} requests admitted",
        witness=witness,
        contradiction=refusal,
    )


def soonest_refusal(decisions: Burst) -> tuple[tuple[Decision, ...], Decision]:
    """The rejection with the fewest admissions possible before it; these with it, and it alone."""
    candidates = possibly_admitted(decisions)

    def before(refusal: Decision) -> list[Decision]:
        return [each for each in candidates if each.sent <= refusal.received]

    refusal = min(rejected(decisions), key=lambda each: (len(before(each)), each.sent))
    return in_order([*before(refusal), refusal]), refusal


def _alone(bursts: Sequence[Burst], *, limit: int, window: float, algorithm: str) -> Violation | None:
    """A burst of which more was admitted than anything explains."""
    if Algorithm(algorithm) is not Algorithm.TOKEN_BUCKET:
        found = (over_admission(each, limit=limit, window=window, algorithm=algorithm) for each in bursts)
        return next((violation for violation in found if violation is not None), None)

    def bound(length: float) -> int:
        return limit + math.floor(limit * at_most(length) / window)

    for burst in bursts:
        excess = fewest_beyond(admitted(burst), bound)
        if excess is not None:
            return _more_than(bound(stretch(excess)), [excess], limit=limit, window=window)
    return None


def _again(bursts: Sequence[Burst], *, limit: int, window: float, suffices: Suffices) -> Violation | None:
    """Excess in several bursts; the fewest and tightest of them that suffice."""
    excesses = [excess for burst in bursts if (excess := _excess(burst, limit, window)) is not None]
    excesses.sort(key=stretch)
    for count in range(2, len(excesses) + 1):
        if suffices(excesses[:count]):
            return _more_than(limit, excesses[:count], limit=limit, window=window)
    return None


def _excess(burst: Burst, limit: int, window: float) -> list[Decision] | None:
    """The tightest limit + 1 admissions, if a window that began with the burst cannot have ended."""
    excess = fewest_beyond(admitted(burst), lambda _: limit)
    if excess is None:
        return None
    end = max(each.received for each in excess)
    begin = min(each.sent for each in burst)
    return excess if at_most(end - begin) < window else None


def _no_common_turn(excesses: Sequence[list[Decision]], window: float) -> bool:
    """Whether, in some two of them, windows that turn every W seconds cannot have turned in both."""
    return any(not _common_turn(*pair, window) for pair in combinations(excesses, 2))


def _common_turn(one: list[Decision], other: list[Decision], window: float) -> bool:
    early, late = sorted((one, other), key=lambda excess: min(each.sent for each in excess))
    gap = min(each.sent for each in late) - max(each.received for each in early)
    nearest = at_least(gap) if gap > 0 else gap
    farthest = at_most(stretch([*early, *late]))
    return math.floor(farthest / window) >= math.ceil(nearest / window)


def _silent_between(bursts: Sequence[Burst], window: float) -> bool:
    """Whether all state of one burst is gone before the next, however the windows lie."""
    ordered = sorted((burst for burst in bursts if burst), key=lambda burst: min(each.sent for each in burst))
    return all(
        at_least(min(each.sent for each in late) - max(each.received for each in early)) > 2 * window
        for early, late in pairwise(ordered)
    )


def _more_than(most: int, excesses: Sequence[list[Decision]], *, limit: int, window: float) -> Violation:
    told = ", and again ".join(f"{len(each)} within {spoken(stretch(each))}" for each in excesses)
    turn = "" if len(excesses) == 1 else "; a window may turn within one burst, not within each of them"
    return Violation(
        rule=f"a full budget of {budget(limit, window)} lets {limit} of a burst through{turn}",
        expected=f"{most} admitted of a burst",
        observed=told,
        witness=in_order(each for excess in excesses for each in excess),
        contradiction=max(excesses[-1], key=lambda decision: decision.received),
    )
