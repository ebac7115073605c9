"""Records what a grader would see of a simulated limiter: intervals around decisions, unknown outcomes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from labkit.history import Algorithm, Decision, Outcome
from tests.history.limiters import (
    FirstHitCounter,
    FirstHitWindow,
    FixedWindow,
    Gcra,
    Limiter,
    SlidingCounter,
    SlidingLog,
    TokenBucket,
    WholeTokenBucket,
)

Builder = Callable[[int, float, float], Limiter]
"""From limit, window and phase of the windows, to a limiter."""


@dataclass(frozen=True)
class Kind:
    """A right limiter. `stale` says that it stays right when its clock is read before it commits.

    GCRA does not: it takes the time that it missed for budget that is spent. A log then forgets a
    late entry too early, and a counter fills the window before last.
    """

    algorithm: Algorithm
    build: Builder
    stale: bool = False


RIGHT = {
    "aligned window": Kind(Algorithm.FIXED_WINDOW, lambda n, w, p: FixedWindow(n, w, p), stale=True),
    "first-hit window": Kind(Algorithm.FIXED_WINDOW, lambda n, w, _: FirstHitWindow(n, w)),
    "log": Kind(Algorithm.SLIDING_LOG, lambda n, w, _: SlidingLog(n, w)),
    "counter": Kind(Algorithm.SLIDING_COUNTER, lambda n, w, p: SlidingCounter(n, w, p)),
    "flooring counter": Kind(Algorithm.SLIDING_COUNTER, lambda n, w, p: SlidingCounter(n, w, p, floors=True)),
    "first-hit counter": Kind(Algorithm.SLIDING_COUNTER, lambda n, w, _: FirstHitCounter(n, w)),
    "bucket": Kind(Algorithm.TOKEN_BUCKET, lambda n, w, _: TokenBucket(n, w), stale=True),
    "whole-token bucket": Kind(Algorithm.TOKEN_BUCKET, lambda n, w, _: WholeTokenBucket(n, w), stale=True),
    "gcra": Kind(Algorithm.TOKEN_BUCKET, lambda n, w, _: Gcra(n, w)),
}

WHOLE_MILLISECONDS = Kind(Algorithm.TOKEN_BUCKET, lambda n, w, _: Gcra(n, w, tick=0.001))
"""Its emission interval is a whole number of milliseconds: right only where L divides W."""


@dataclass(frozen=True)
class Clock:
    """A limiter's clock as it differs from the grader's: offset, slew, coarseness."""

    offset: float = 0.0
    slew: float = 0.0
    tick: float = 0.0

    def read(self, at: float) -> float:
        shown = self.offset + at * (1 + self.slew)
        return math.floor(shown / self.tick) * self.tick if self.tick else shown


@dataclass(frozen=True)
class Network:
    """How far, in seconds, a decision may lie from sending and answer, and how often no answer comes."""

    before: float = 0.0
    after: float = 0.0
    lost: float = 0.0
    stale: float = 0.0


@dataclass
class Recorder:
    """Sends requests to a limiter at given moments of decision and records what comes back."""

    limiter: Limiter
    rng: Random
    clock: Clock = field(default_factory=Clock)
    network: Network = field(default_factory=Network)

    def record(self, moments: Sequence[float], client: str = "c") -> list[Decision]:
        return [self._one(at, client) for at in sorted(moments)]

    def _one(self, at: float, client: str) -> Decision:
        read = at - self._some(self.network.stale)
        sent, received = read - self._some(self.network.before), at + self._some(self.network.after)
        if self.rng.random() >= self.network.lost:
            admitted = self.limiter.admits(client, self.clock.read(read))
            outcome = Outcome.ADMITTED if admitted else Outcome.REJECTED
            return Decision(sent, received, outcome)
        if self.rng.random() < 0.5:
            self.limiter.admits(client, self.clock.read(read))
        return Decision(sent, self.rng.choice([received, math.inf]), Outcome.UNKNOWN)

    def _some(self, most: float) -> float:
        return self.rng.choice([0.0, most, self.rng.uniform(0, most)])
