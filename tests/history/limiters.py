"""Limiters without a server: right ones of every kind, and wrong ones with one mistake each.

`admits(client, now)` decides one request; `now` is in seconds on the limiter's own clock, and calls
come in the order in which the decisions are committed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Protocol


class Limiter(Protocol):
    def admits(self, client: str, now: float) -> bool: ...


@dataclass
class FixedWindow:
    """Windows on the clock, turning at `phase`; `phases` may give a client a phase of its own."""

    limit: int
    window: float
    phase: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)
    counts: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))

    def admits(self, client: str, now: float) -> bool:
        key = (client, math.floor((now - self.phases.get(client, self.phase)) / self.window))
        self.counts[key] += 1
        return self.counts[key] <= self.limit


@dataclass
class FirstHitWindow:
    """INCR, and EXPIRE with the first: a window begins with its first request."""

    limit: int
    window: float
    elastic: bool = False
    windows: dict[str, tuple[float, int]] = field(default_factory=dict)

    def admits(self, client: str, now: float) -> bool:
        ends, count = self.windows.get(client, (-math.inf, 0))
        if now >= ends:
            ends, count = now + self.window, 0
        if self.elastic:
            ends = now + self.window
        self.windows[client] = (ends, count + 1)
        return count < self.limit


@dataclass
class SlidingLog:
    """A log of admissions; with `logs_rejected` of all requests."""

    limit: int
    window: float
    logs_rejected: bool = False
    log: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def admits(self, client: str, now: float) -> bool:
        self.log[client] = [at for at in self.log[client] if at > now - self.window]
        admitted = len(self.log[client]) < self.limit
        if admitted or self.logs_rejected:
            self.log[client].append(now)
        return admitted


@dataclass
class SlidingCounter:
    """Two counters, the older one weighted. `floors` compares the estimate rounded down with the limit."""

    limit: int
    window: float
    phase: float = 0.0
    floors: bool = False
    counts: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))

    def admits(self, client: str, now: float) -> bool:
        index, elapsed = divmod(now - self.phase, self.window)
        current, previous = self.counts[client, int(index)], self.counts[client, int(index) - 1]
        estimate = current + previous * (1 - elapsed / self.window)
        full = math.floor(estimate) >= self.limit if self.floors else estimate + 1 > self.limit
        if not full:
            self.counts[client, int(index)] += 1
        return not full


@dataclass
class FirstHitCounter:
    """A sliding counter whose windows follow each other from the client's first request on."""

    limit: int
    window: float
    state: dict[str, tuple[float, int, int]] = field(default_factory=dict)

    def admits(self, client: str, now: float) -> bool:
        start, previous, current = self.state.get(client, (now, 0, 0))
        passed = math.floor((now - start) / self.window)
        if passed >= 2:
            start, previous, current = now, 0, 0
        elif passed == 1:
            start, previous, current = start + self.window, current, 0
        estimate = current + previous * (1 - (now - start) / self.window)
        admitted = math.floor(estimate) < self.limit
        self.state[client] = (start, previous, current + admitted)
        return admitted


@dataclass
class TokenBucket:
    """Tokens as a fraction; `refill` scales the rate of a wrong one."""

    limit: int
    window: float
    refill: float = 1.0
    state: dict[str, tuple[float, float]] = field(default_factory=dict)

    def admits(self, client: str, now: float) -> bool:
        tokens, last = self.state.get(client, (float(self.limit), now))
        now = max(now, last)
        tokens = min(self.limit, tokens + (now - last) * self.refill * self.limit / self.window)
        admitted = tokens >= 1
        self.state[client] = (tokens - admitted, now)
        return admitted


@dataclass
class WholeTokenBucket:
    """Whole tokens, whole milliseconds: the time that bought no whole token is kept for later."""

    limit: int
    window: float
    state: dict[str, tuple[int, float]] = field(default_factory=dict)

    def admits(self, client: str, now: float) -> bool:
        at = math.floor(now * 1000)
        width = round(self.window * 1000)
        tokens, last = self.state.get(client, (self.limit, at))
        gained = max(0, math.floor((at - last) * self.limit / width))
        tokens, last = tokens + gained, last + gained * width / self.limit
        if tokens >= self.limit:
            tokens, last = self.limit, max(at, last)
        admitted = tokens >= 1
        self.state[client] = (tokens - admitted, last)
        return admitted


@dataclass
class Gcra:
    """One theoretical arrival time for each client. `tick` rounds the emission interval down to it.

    Without the microsecond it would not be right: Unix time as a float is no finer, and the last
    request of a full burst is due to the very instant.
    """

    limit: int
    window: float
    tick: float = 0.0
    arrivals: dict[str, float] = field(default_factory=dict)

    def admits(self, client: str, now: float) -> bool:
        interval = self.window / self.limit
        if self.tick:
            interval = math.floor(interval / self.tick + 1e-9) * self.tick
        arrival = max(now, self.arrivals.get(client, now))
        admitted = arrival - now <= interval * (self.limit - 1) + 1e-6
        if admitted:
            self.arrivals[client] = arrival + interval
        return admitted


@dataclass
class PerReplica:
    """Replicas that share nothing, asked in turn."""

    replicas: list[Limiter]
    turn: int = 0

    def admits(self, client: str, now: float) -> bool:
        self.turn += 1
        return self.replicas[self.turn % len(self.replicas)].admits(client, now)
