"""The verbs of the rate limiter's checks."""

from __future__ import annotations

import math
import random
import string
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from labkit import (
    Arena,
    CheckFailed,
    EvidenceRow,
    Exchange,
    Inconclusive,
    Request,
    Setup,
    answered,
    expect,
    is_problem,
    rows_of,
    shortened,
)
from labkit.history import Placed, Violation, burst_excess, burst_shortfall

from . import answers, outages, races, store, turns
from .spent import SLOW_S, TOO_BUSY, Spent, looks_like_policy

PING = "/api/ping"
SEE_OUTPUT = "see the process's own output for what broke"
MOST_EXCESS_BURSTS = 5
# By then the answers that were on their way beside the one in question have come as well.
DOUBT_AFTER_S = 0.3


def _setup(*, limit: int, window_ms: int, replicas: int, **more: object) -> Setup:
    settings = {"RATE_LIMIT": str(limit), "RATE_WINDOW_MS": str(window_ms)}
    return Setup(replicas={"web": replicas}, settings=settings, **more)  # type: ignore[arg-type]


ARENAS = {
    # a window so long that nothing comes back while a check runs
    "steady": _setup(limit=10, window_ms=600_000, replicas=3, width=3),
    # a window so short that several go by
    "brisk": _setup(limit=20, window_ms=1_000, replicas=2),
    # the smallest of everything
    "small": _setup(limit=1, window_ms=500, replicas=1, exclusive=True),
    # a window whose length, and the share of it for one request, are not rounded up to the nearest second
    "trickle": _setup(limit=3, window_ms=4_450, replicas=1, skew={"web-1": 1.0}),
    # clocks that differ by half a window
    "clocks": _setup(limit=10, window_ms=3_000, replicas=2, skew={"web-1": 0.75, "web-2": -0.75}),
    "lifecycle": _setup(limit=10, window_ms=600_000, replicas=2, exclusive=True, breaks=["redis"]),
    "outage": _setup(limit=10, window_ms=600_000, replicas=1, exclusive=True, breaks=["redis"]),
    "crash": _setup(limit=10, window_ms=1_000, replicas=2, exclusive=True),
}


class Bench:
    """One check's view of an arena: fresh clients, requests in the shapes that the checks need."""

    def __init__(self, arena: Arena, chance: random.Random) -> None:
        self.arena = arena
        self.limit = int(arena.setup.settings["RATE_LIMIT"])
        self.window = int(arena.setup.settings["RATE_WINDOW_MS"]) / 1000
        self.algorithm = arena.options["algorithm"]
        self.policy = arena.options["on_redis_outage"]
        self.replicas = arena.setup.processes
        self._chance = chance
        self._seen: list[Exchange] = []

    # Verbs that have files of their own.
    is_problem = staticmethod(is_problem)
    expect_still_rejected = answers.expect_still_rejected
    expect_no_new_client = answers.expect_no_new_client
    nothing_rejected = answers.nothing_rejected
    retry_after = answers.retry_after
    lawful_remaining = answers.lawful_remaining
    in_rounds = races.in_rounds
    burst_at_redis = races.burst_at_redis
    lose_a_race = races.lose_a_race
    bursts_around_a_turn = turns.bursts_around_a_turn
    excuse_lateness = turns.excuse_lateness
    skew_is_seen = turns.skew_is_seen
    bursts_on_skewed_clocks = turns.bursts_on_skewed_clocks
    redis = property(store.redis_of)
    keys = store.keys
    times_to_live = store.times_to_live
    keys_in_redis = store.keys_in_redis
    follows_policy = outages.follows_policy
    expect_limits_return = outages.expect_limits_return
    kill_after_flights = outages.kill_after_flights
    terminate_during_a_request = outages.terminate_during_a_request
    round_trips = outages.round_trips

    def fresh_client(self, length: int = 12) -> str:
        """An API key that nobody has used yet."""
        alphabet = string.ascii_letters + string.digits
        return "k-" + "".join(self._chance.choices(alphabet, k=length - 2))

    def request(
        self,
        client: str | None,
        *,
        process: str = "web-1",
        path: str = PING,
        method: str = "GET",
        **headers: str,
    ) -> Request:
        """A request of `client`; further headers by keyword, _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if client is not None:
            named["X-Api-Key"] = client
        return Request(process=process, path=path, method=method, headers=named)

    def ask(self, request: Request) -> Exchange:
        """One request that has to be answered, with whatever status."""
        answer = answered([self.arena.send(request)])[0]
        self._seen.append(answer)
        return answer

    def spend(
        self, client: str, count: int, *, processes: Sequence[str] = ("web-1",), exact: bool = False
    ) -> Spent:
        """`count` requests one by one, the processes taking turns.

        With `exact` each one has to come from the limiter: Inconclusive where that is not certain.
        """
        turns = [processes[number % len(processes)] for number in range(count)]
        exchanges = [self.arena.send(self.request(client, process=name)) for name in turns]
        if exact and any(self.may_be_policy(exchange) for exchange in exchanges):
            raise Inconclusive(TOO_BUSY)
        return self.spent(exchanges)

    def burst(self, client: str, count: int, *, processes: Sequence[str] = ("web-1",)) -> Spent:
        """`count` requests all at once, spread evenly over the processes."""
        turns = [processes[number % len(processes)] for number in range(count)]
        requests = [self.request(client, process=name) for name in turns]
        with self.arena.bursting:
            exchanges = self.arena.burst(requests)
        return self.spent(exchanges, racing=True)

    def pace(self, client: str, count: int, *, every: float, processes: Sequence[str] = ("web-1",)) -> Spent:
        """`count` requests, one each `every` seconds, the processes taking turns."""
        turns = [processes[number % len(processes)] for number in range(count)]
        requests = [self.request(client, process=name) for name in turns]
        return self.spent(self.arena.paced(requests, every=every))

    def spent(self, exchanges: Sequence[Exchange], *, racing: bool = False) -> Spent:
        """Exchanges of one client as what it spent, each one decided."""
        return Spent([self.decided(exchange, racing=racing) for exchange in exchanges], self.may_be_policy)

    def decided(self, exchange: Exchange, *, racing: bool = False) -> Exchange:
        """A limiter's answer is 200 or 429 as long as Redis is there; anything else fails the check.

        `racing`: it was asked together with others.
        """
        self._seen += answered([exchange])
        if self.may_be_policy(exchange):
            return exchange
        expect(
            exchange.status,
            one_of=(200, 429),
            unit="as the status of a request with a valid key",
            hints=[
                (
                    lambda status: status == 503,
                    "Redis was up: a lost race or a full pool is no outage"
                    if racing
                    else "Redis was up: 503 is for when it cannot be asked",
                ),
                (lambda status: status >= 500, SEE_OUTPUT),
            ],
            evidence=lambda: [*rows_of([exchange], mark=exchange), *self.output(exchange.request.process)],
            reading="The answers",
            sure=not self.looks_like_policy(exchange),
        )
        return exchange

    def may_be_policy(self, exchange: Exchange) -> bool:
        """Whether a starved service may have taken the machine's slowness for an outage of Redis."""
        return self.looks_like_policy(exchange) and self.arena.starved_lately(exchange)

    def looks_like_policy(self, exchange: Exchange) -> bool:
        """Whether an answer is one that the declared outage policy gives as well."""
        return looks_like_policy(exchange, self.policy, self.limit)

    def has_status(
        self,
        exchange: Exchange,
        *wanted: int,
        reading: str,
        hints: Mapping[Any, str] = MappingProxyType({}),
    ) -> None:
        """The answer has one of these statuses; `hints` say what another one, or no answer, tells."""
        if exchange.status not in wanted and 400 not in wanted and self.may_be_policy(exchange):
            raise Inconclusive(TOO_BUSY)
        expect(
            exchange.status or exchange.failure,
            one_of=wanted,
            unit=f"as the status of {exchange.request.method} {exchange.request.path}",
            hints={500: SEE_OUTPUT, **hints},
            evidence=lambda: [*rows_of([exchange], mark=exchange), *self.output(exchange.request.process)],
            reading=reading,
            # No policy lets a request without a valid key through.
            sure=400 in wanted or not self.looks_like_policy(exchange),
        )

    def exactly_the_limit(
        self,
        spending: Callable[[str], Spent],
        *,
        unit: str,
        hints: dict[int, str] | None = None,
        reading: str,
    ) -> None:
        """A fresh client that asks for more than L at once gets L, by the law of the declared algorithm.

        A window that turns within the burst may lawfully let more through; then fresh clients
        follow, until no turn can explain it. Inconclusive where a starved service's outage policy can.
        """
        bursts: list[Spent] = []
        while len(bursts) < MOST_EXCESS_BURSTS:
            burst = spending(self.fresh_client())
            bursts.append(burst)
            excess = burst_excess(
                [burst.decisions for burst in bursts],
                limit=self.limit,
                window=self.window,
                algorithm=self.algorithm,
            )
            violation = excess or burst_shortfall(burst.decisions, limit=self.limit)
            if violation is not None:
                self.fail(
                    violation,
                    sure=excess is not None,
                    hint=(hints or {}).get(burst.admitted),
                    expected=f"{self.limit} {unit}",
                    observed=f"{burst.admitted}",
                    reading=reading,
                )
            if self.in_doubt(burst):
                raise Inconclusive(TOO_BUSY)
            if burst.admitted <= self.limit:
                return

    def in_doubt(self, spent: Spent) -> bool:
        """Whether more than the limit got through, but perhaps by a starved service's outage policy."""
        passed = sum(exchange.status == 200 for exchange in spent.exchanges)
        return passed > self.limit >= spent.admitted

    def holds(
        self, violation: Violation | None, *, hint: str | None = None, reading: str, sure: bool = False
    ) -> None:
        """Fail the check if a law was proven broken; `sure`: by admissions, which no delay explains."""
        if violation is not None:
            self.fail(violation, hint=hint, reading=reading, sure=sure)

    def doubt(self) -> str | None:
        """Why the machine may be at fault for this check's failure, or None.

        A service gives up waiting for Redis after some time: then it answers by its policy, or asks
        again and spends twice.
        """
        self.arena.sleep(DOUBT_AFTER_S)
        slow = any(exchange.starved and exchange.received - exchange.sent > SLOW_S for exchange in self._seen)
        return TOO_BUSY if slow or any(map(self.may_be_policy, self._seen)) else None

    def forget(self) -> None:
        """What was asked before is no doubt about what comes."""
        self._seen.clear()

    def fail(
        self,
        violation: Violation,
        *,
        hint: str | None,
        reading: str,
        expected: str | None = None,
        observed: str | None = None,
        sure: bool = False,
    ) -> None:
        raise CheckFailed(
            sure=sure,
            expected=expected or f"{violation.expected} ({violation.rule})",
            observed=observed or violation.observed,
            hint=hint,
            evidence=self.witness(violation),
            reading=reading,
        )

    def witness(self, violation: Violation) -> list[EvidenceRow]:
        """The decisions that prove it, with what the grader did to services meanwhile."""
        exchanges = [_exchange(decision) for decision in violation.witness]
        mark = None if violation.contradiction is None else _exchange(violation.contradiction)
        rows = rows_of(exchanges, mark=mark)
        if exchanges:
            begin = min(exchange.sent for exchange in exchanges)
            end = max(exchange.received for exchange in exchanges)
            rows += self.arena.timeline(begin, end)
        return shortened(sorted(rows, key=lambda row: row.at or 0.0))

    def output(self, process: str, most: int = 6) -> list[EvidenceRow]:
        """The last lines of a process."""
        lines = self.arena.processes[process].tail(most)
        return [EvidenceRow(at=None, who=f"{process} output", what=line) for line in lines]

    @property
    def longest_retry_s(self) -> int:
        """The longest lawful Retry-After, in seconds."""
        return math.ceil(self.window * (1 + 1 / self.limit)) + 1


def _exchange(decision: Placed) -> Exchange:
    assert isinstance(decision.ref, Exchange)
    return decision.ref
