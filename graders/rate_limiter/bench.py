"""The verbs of the rate limiter's checks."""

from __future__ import annotations

import math
import random
import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from labkit import (
    Arena,
    CheckFailed,
    EvidenceRow,
    Exchange,
    Inconclusive,
    Request,
    Setup,
    expect,
    rows_of,
    shortened,
)
from labkit.clocks import time_of_day
from labkit.history import Decision, Outcome, Violation, burst_excess, burst_shortfall

PING = "/api/ping"
MOST_EXCESS_BURSTS = 5
RECOVERY_S = 5.0
# Bursts before and after a window's turn, in windows: far enough from it that a late one stays on its side,
# near enough to each other that both in full are more than anything but a fixed window admits.
EARLY, LATE = 0.65, 1.1
TOO_BUSY = "the machine was so busy that the service may have taken its slowness for an outage of Redis"


def _setup(*, limit: int, window_ms: int, replicas: int, **more: object) -> Setup:
    settings = {"RATE_LIMIT": str(limit), "RATE_WINDOW_MS": str(window_ms)}
    return Setup(replicas={"web": replicas}, settings=settings, **more)  # type: ignore[arg-type]


ARENAS = {
    # a window so long that nothing comes back while a check runs
    "steady": _setup(limit=10, window_ms=600_000, replicas=3),
    # a window so short that several go by
    "brisk": _setup(limit=20, window_ms=1_000, replicas=2),
    # the smallest of everything
    "small": _setup(limit=1, window_ms=500, replicas=1, exclusive=True),
    # clocks that differ by half a window
    "clocks": _setup(limit=10, window_ms=3_000, replicas=2, skew={"web-1": 0.75, "web-2": -0.75}),
    "lifecycle": _setup(limit=10, window_ms=600_000, replicas=2, exclusive=True),
    "outage": _setup(limit=10, window_ms=600_000, replicas=1, exclusive=True),
    "crash": _setup(limit=10, window_ms=1_000, replicas=2, exclusive=True),
}


@dataclass(frozen=True)
class Spent:
    """Requests of one client and their answers, in the order of sending."""

    exchanges: Sequence[Exchange]
    policy: str
    limit: int

    @property
    def decisions(self) -> list[Decision]:
        return [_decision(exchange, self.policy, self.limit) for exchange in self.exchanges]

    @property
    def admitted(self) -> int:
        """Those that were certainly admitted within the budget."""
        return sum(decision.outcome is Outcome.ADMITTED for decision in self.decisions)

    @property
    def rejected(self) -> list[Exchange]:
        return [exchange for exchange in self.exchanges if exchange.status == 429]

    def __len__(self) -> int:
        return len(self.exchanges)

    def __add__(self, later: Spent) -> Spent:
        return Spent([*self.exchanges, *later.exchanges], self.policy, self.limit)


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

    def fresh_client(self, length: int = 12) -> str:
        """An API key that nobody has used yet."""
        alphabet = string.ascii_letters + string.digits
        return "k-" + "".join(self._chance.choices(alphabet, k=length - 2))

    def request(
        self, client: str | None, *, process: str = "web-1", path: str = PING, **headers: str
    ) -> Request:
        """A GET of `client`; further headers by keyword, _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if client is not None:
            named["X-Api-Key"] = client
        return Request(process=process, path=path, headers=named)

    def ask(self, request: Request) -> Exchange:
        """One request that has to be answered, with whatever status."""
        return answered([self.arena.send(request)])[0]

    def spend(
        self, client: str, count: int, *, processes: Sequence[str] = ("web-1",), exact: bool = False
    ) -> Spent:
        """`count` requests one by one, the processes taking turns.

        With `exact` each one has to come from the limiter: Inconclusive where that is not certain.
        """
        turns = [processes[number % len(processes)] for number in range(count)]
        exchanges = [self.arena.send(self.request(client, process=name)) for name in turns]
        if exact and any(self._may_be_policy(exchange) for exchange in exchanges):
            raise Inconclusive(TOO_BUSY)
        return self._spent(exchanges)

    def burst(self, client: str, count: int, *, processes: Sequence[str] = ("web-1",)) -> Spent:
        """`count` requests all at once, spread evenly over the processes."""
        turns = [processes[number % len(processes)] for number in range(count)]
        requests = [self.request(client, process=name) for name in turns]
        with self.arena.bursting:
            exchanges = self.arena.burst(requests)
        return self._spent(exchanges)

    def pace(self, client: str, count: int, *, every: float, processes: Sequence[str] = ("web-1",)) -> Spent:
        """`count` requests, one each `every` seconds, the processes taking turns."""
        turns = [processes[number % len(processes)] for number in range(count)]
        requests = [self.request(client, process=name) for name in turns]
        return self._spent(self.arena.paced(requests, every=every))

    def _spent(self, exchanges: Sequence[Exchange]) -> Spent:
        return Spent([self.decided(exchange) for exchange in exchanges], self.policy, self.limit)

    def decided(self, exchange: Exchange) -> Exchange:
        """A limiter's answer is 200 or 429 as long as Redis is there; anything else fails the check."""
        answered([exchange])
        if self._may_be_policy(exchange):
            return exchange
        expect(
            exchange.status,
            one_of=(200, 429),
            unit="as the status of a request with a valid key",
            hints=[
                (
                    lambda status: status == 503,
                    "Redis was up: a lost race or a full pool is no outage",
                ),
                (lambda status: status >= 500, "see the process's own output for what broke"),
            ],
            evidence=lambda: [*rows_of([exchange], mark=exchange), *self.output(exchange.request.process)],
            reading="The answers",
        )
        return exchange

    def _may_be_policy(self, exchange: Exchange) -> bool:
        """Whether a starved service may have taken the machine's slowness for an outage of Redis."""
        return exchange.starved and _looks_like_policy(exchange, self.policy, self.limit)

    def has_status(self, exchange: Exchange, *wanted: int, reading: str, hint: str | None = None) -> None:
        """The answer has one of these statuses."""
        if exchange.status not in wanted and self._may_be_policy(exchange):
            raise Inconclusive(TOO_BUSY)
        expect(
            exchange.status or exchange.failure,
            one_of=wanted,
            unit=f"as the status of {exchange.request.method} {exchange.request.path}",
            hints=[(lambda _: hint is not None, hint or "")],
            evidence=lambda: [*rows_of([exchange], mark=exchange), *self.output(exchange.request.process)],
            reading=reading,
        )

    def is_problem(self, exchange: Exchange) -> None:
        """An error's body is application/problem+json with title and status (RFC 9457)."""
        body = exchange.json()
        body = body if isinstance(body, dict) else {}
        evidence = rows_of([exchange], mark=exchange)
        media_type = exchange.headers.get("content-type", "none").partition(";")[0].strip().lower()
        expect(
            media_type,
            equals="application/problem+json",
            unit=f"as the media type of a {exchange.status}",
            hints=[(bool, "every error is a problem document (RFC 9457), whoever answers it")],
            evidence=evidence,
            reading="The answers",
        )
        unit = f"as the member status in the body of a {exchange.status}"
        expect(
            body.get("status"), equals=exchange.status, unit=unit, evidence=evidence, reading="The answers"
        )
        titled = isinstance(body.get("title"), str) and bool(body["title"])
        unit = "a title in the body of the problem"
        expect(
            "there is" if titled else "there is not",
            equals="there is",
            unit=unit,
            evidence=evidence,
            reading="The answers",
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
        follow, until no turn can explain it.
        """
        bursts: list[Spent] = []
        while len(bursts) < MOST_EXCESS_BURSTS:
            burst = spending(self.fresh_client())
            bursts.append(burst)
            violation = burst_shortfall(burst.decisions, limit=self.limit) or burst_excess(
                [burst.decisions for burst in bursts],
                limit=self.limit,
                window=self.window,
                algorithm=self.algorithm,
            )
            if violation is not None:
                self.fail(
                    violation,
                    hint=(hints or {}).get(burst.admitted),
                    expected=f"{self.limit} {unit}",
                    observed=f"{burst.admitted}",
                    reading=reading,
                )
            if burst.admitted <= self.limit:
                return

    def holds(self, violation: Violation | None, *, hint: str | None = None, reading: str) -> None:
        """Fail the check if a law was proven broken."""
        if violation is not None:
            self.fail(violation, hint=hint, reading=reading)

    def fail(
        self,
        violation: Violation,
        *,
        hint: str | None,
        reading: str,
        expected: str | None = None,
        observed: str | None = None,
    ) -> None:
        raise CheckFailed(
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

    def expect_still_rejected(self, request: Request, disguise: str) -> None:
        """`request` comes, in disguise, from a client that is over budget."""
        answer = self.decided(self.arena.send(request))
        expect(
            answer.status,
            equals=429,
            unit=f"for a client over budget that comes with {disguise}",
            hints={200: f"{disguise} makes a new client of it"},
            evidence=rows_of([answer], mark=answer),
            reading="Identity",
        )

    def nothing_rejected(self, spent: Spent) -> Exception:
        """What to raise where a client over its limit was never rejected."""
        if any(self._may_be_policy(exchange) for exchange in spent.exchanges):
            return Inconclusive(TOO_BUSY)
        return CheckFailed(
            expected=f"a 429 among {len(spent)} requests at once, with a limit of {self.limit}",
            observed="none",
            hint="nothing is limited yet",
            evidence=shortened(rows_of(spent.exchanges)),
            reading="The answers",
        )

    def retry_after(self, answer: Exchange) -> int:
        """Retry-After of a 429 in seconds; fails the check if it is none that a client could follow."""
        text = answer.headers.get("retry-after", "")
        seconds = int(text) if text.isascii() and text.isdigit() else 0
        expect(
            seconds,
            one_of=range(1, self.longest_retry_s + 1),
            unit="as Retry-After of a 429, in whole seconds",
            evidence=rows_of([answer], mark=answer),
            reading="Retry-After",
        )
        return seconds

    def lawful_remaining(self, exchanges: Sequence[Exchange], number: int) -> list[str]:
        """What X-RateLimit-Remaining may say on a fresh client's request `number`, counted from 1."""
        left = max(self.limit - number, 0)
        elapsed = exchanges[number - 1].received - exchanges[0].sent
        regained, rounding = 0, 0
        if self.algorithm == "token-bucket":
            # A bucket fills all the time, and one kept in floating point may round a whole token down.
            regained, rounding = math.ceil(self.limit * elapsed / self.window), 1
        lowest, highest = max(left - rounding, 0), min(left + regained, self.limit)
        return [str(value) for value in range(lowest, highest + 1)]

    def bursts_around_a_turn(self) -> Iterator[Spent]:
        """Full bursts just before and just after the moment at which a window may turn."""
        probe = self.fresh_client()
        self.burst(probe, 2 * self.limit)
        turn = self._wait_until_admitted(probe, patience=2 * self.window)
        yield self._bursts_at(turn + EARLY * self.window, turn + LATE * self.window)
        # A window may also begin with the client's first request.
        client = self.fresh_client()
        first = self.spend(client, 1)
        begun = first.exchanges[0].received
        yield self._bursts_at(begun + EARLY * self.window, begun + LATE * self.window, client, first)

    def _bursts_at(
        self, before: float, after: float, client: str | None = None, first: Spent | None = None
    ) -> Spent:
        client = client or self.fresh_client()
        exchanges = list(first.exchanges) if first else []
        for moment in (before, after):
            self.arena.sleep_until(moment)
            exchanges += self.burst(client, self.limit, processes=self.replicas).exchanges
        return self._spent(exchanges)

    def _wait_until_admitted(self, client: str, *, patience: float) -> float:
        """When the client was admitted again, on the clock."""
        deadline = self.arena.clock() + patience
        while self.arena.clock() < deadline:
            answer = self.decided(self.arena.send(self.request(client)))
            if answer.status == 200:
                return answer.sent
            self.arena.sleep(self.window / 50)
        return self.arena.clock()

    def skew_is_seen(self) -> bool:
        """Whether the replicas' Date headers show that their clocks differ."""
        names = list(self.arena.setup.skew)
        dates = [
            self.ask(self.request(None, process=name, path="/healthz")).headers.get("date") for name in names
        ]
        times = [time_of_day(date) for date in dates]
        seen = None not in times and abs((times[0] or 0) - (times[1] or 0)) >= 1
        self.arena.tell("grader", f"clocks skewed: {seen}")
        return seen

    def bursts_on_skewed_clocks(self) -> tuple[list[Spent], list[Spent]]:
        """(histories of single clients over time, short bursts of fresh clients at many phases)."""
        ahead, behind = self.replicas
        late, quick = self.fresh_client(), self.fresh_client()
        begun = self.arena.clock()
        early = self.burst(late, self.limit, processes=[behind])
        turns = self.spend(quick, 3 * self.limit, processes=[ahead, behind])
        short = []
        for number in range(10):
            self.arena.sleep_until(begun + 0.06 * self.window * number)
            short.append(self.burst(self.fresh_client(), self.limit + 4, processes=self.replicas))
        self.arena.sleep_until(begun + 0.6 * self.window)
        later = self.burst(late, 2 * self.limit, processes=[ahead])
        return [early + later, turns], short

    @property
    def redis(self) -> Any:
        """The grader's own client, past every link."""
        return self.arena.services["redis"].client()  # type: ignore[attr-defined]

    def keys(self) -> set[str]:
        """All keys in Redis."""
        with self.redis as redis:
            return {key.decode("utf-8", "replace") for key in redis.scan_iter(count=1000)}

    def times_to_live(self) -> dict[str, int]:
        """Key -> milliseconds to live, -1 for ever; only what a second look confirms is -1."""
        found = self._ttls()
        if -1 in found.values():
            self.arena.sleep(0.1)  # a replica may be between writing a key and giving it its time
            again = self._ttls()
            found = {key: again.get(key, -2) if ttl == -1 else ttl for key, ttl in found.items()}
        return {key: ttl for key, ttl in found.items() if ttl != -2}

    def _ttls(self) -> dict[str, int]:
        with self.redis as redis:
            return {key.decode("utf-8", "replace"): redis.pttl(key) for key in redis.scan_iter(count=1000)}

    def keys_in_redis(self) -> list[EvidenceRow]:
        """What lies in Redis now, key by key."""
        with self.redis as redis:
            keys = sorted(redis.scan_iter(count=1000))[:10]
            now = round(self.arena.clock(), 3)
            return [
                EvidenceRow(
                    now,
                    "redis",
                    key.decode("utf-8", "replace"),
                    f"{redis.type(key).decode()}, PTTL {redis.pttl(key)}",
                )
                for key in keys
            ]

    def terminate_during_a_request(self, process: str) -> tuple[Exchange, int | None]:
        """SIGTERM while a request waits for Redis; (its answer, the exit code)."""
        self.ask(self.request(self.fresh_client(), process=process))
        link = self.arena.link(process, "redis")
        before = link.flights
        link.delay(0.1)
        waiting = self.arena.begin(self.request(self.fresh_client(), process=process))
        while link.flights == before and not waiting.done():
            self.arena.sleep(0.001)
        code = self.arena.terminate(process)
        link.delay(0.0)
        return waiting.result(), code

    def kill_after_flights(self, process: str, flights: int) -> str | None:
        """Kill a replica that has sent `flights` flights of one decision to Redis, before the next.

        The client of that decision, or None where a decision does not take so many.
        """
        self.spend(self.fresh_client(), 2, processes=[process])
        client = self.fresh_client()
        link = self.arena.link(process, "redis")
        link.hold_after(flights)
        waiting = self.arena.begin(self.request(client, process=process))
        while not link.held.is_set() and not waiting.done():
            self.arena.sleep(0.001)
        reached = link.held.is_set()
        if reached:
            self.arena.kill(process)
            link.cut()  # what is held was never sent, and must not arrive
            self.arena.tell(process, f"died after {flights} round trips of its decision")
        link.release()
        if not reached and self._may_be_policy(waiting.result()):
            raise Inconclusive(TOO_BUSY)
        return client if reached else None

    def enforced_again(self, *, within: float) -> tuple[bool, Spent]:
        """Whether fresh clients get exactly L again within so many seconds; and the last that was tried."""
        begin = self.arena.clock()
        while True:
            tried = self._try_limit()
            if tried.admitted == self.limit and len(tried.rejected) == len(tried) - self.limit:
                return True, tried
            now = self.arena.clock()
            if now - begin - self.arena.late_between(begin, now) > within:
                return False, tried
            self.arena.sleep(0.1)

    def expect_limits_return(self, *, within: float) -> None:
        """Fail the check unless fresh clients get exactly L again within so many seconds."""
        enforced, tried = self.enforced_again(within=within)
        if not enforced:
            raise CheckFailed(
                expected=f"{self.limit} of {len(tried)} requests of a fresh client admitted, then 429,"
                f" {within:g} s after Redis is back",
                observed=f"{tried.admitted} admitted, {len(tried.rejected)} rejected",
                hint="does the service connect to Redis again by itself, and bring back what it needs there?",
                evidence=[*shortened(rows_of(tried.exchanges)), *self.output("web-1")],
                reading="When Redis fails",
            )

    def follows_policy(self, outage: Callable[[], AbstractContextManager[None]], *, within: float) -> None:
        """Ask during an outage; an answer that came late once may have been the machine, twice is not."""
        for attempt in (1, 2):
            exchanges = self._ask_during(outage)
            late = [exchange for exchange in exchanges if exchange.took_s > within]
            if not late:
                break
            if attempt == 2:
                if late[0].starved:
                    raise Inconclusive(TOO_BUSY)
                expect(
                    late[0].took_s,
                    at_most=within,
                    unit="s for an answer while Redis cannot be asked",
                    hints=[(bool, "time-outs and retries add up: give the whole decision one deadline")],
                    evidence=rows_of(exchanges, mark=late[0]),
                    reading="When Redis fails",
                )
        for exchange in exchanges:
            self._is_by_policy(exchange)

    def _ask_during(self, outage: Callable[[], AbstractContextManager[None]]) -> list[Exchange]:
        self._outlast_policy()
        client = self.fresh_client()
        self.spend(client, self.limit + 1)
        with outage():
            limited = [self.request(client), self.request(self.fresh_client()), self.request(client)]
            health = self.request(None, path="/healthz")
            exchanges = [self.arena.send(request) for request in (*limited, health)]
        return answered(exchanges, hint="what waits for Redis needs a time-out, reading too")

    def _outlast_policy(self) -> None:
        """Wait while the service still answers as in the outage before this one, for as long as it may."""
        latest = self.arena.clock() + RECOVERY_S
        while self.ask(self.request(self.fresh_client())).status == 503 and self.arena.clock() < latest:
            self.arena.sleep(0.1)

    def _is_by_policy(self, exchange: Exchange) -> None:
        if exchange.request.path == "/healthz":
            self.has_status(exchange, 200, reading="When Redis fails", hint="health is not Redis' health")
            return
        wanted = 200 if self.policy == "open" else 503
        hint = f'on_redis_outage = "{self.policy}" is declared'
        if exchange.status == 500:
            hint += "; which of the client library's errors is not caught?"
        self.has_status(exchange, wanted, reading="When Redis fails", hint=hint)
        if self.policy == "closed":
            self.is_problem(exchange)
            expect(
                exchange.headers.get("retry-after", "").isdigit(),
                equals=True,
                unit="for: the 503 carries Retry-After in whole seconds",
                evidence=rows_of([exchange], mark=exchange),
                reading="When Redis fails",
            )

    def round_trips(self, samples: int = 5) -> dict[str, int]:
        """The fewest round trips to Redis of `samples` requests, for admitted and for rejected ones."""
        link = self.arena.link("web-1", "redis")
        client = self.fresh_client()
        self.spend(self.fresh_client(), 3)
        counts: dict[str, list[int]] = {"admitted": [], "rejected": []}
        # Late replies keep the parts of one pipeline together, however slowly they are written.
        with self.arena.faults("redis").slow(0.02):
            while (
                min(map(len, counts.values())) < samples and sum(map(len, counts.values())) < 4 * self.limit
            ):
                before = link.flights
                answer = self.decided(self.arena.send(self.request(client)))
                outcome = "admitted" if answer.status == 200 else "rejected"
                counts[outcome].append(link.flights - before)
        return {outcome: min(trips) for outcome, trips in counts.items() if trips}

    def _try_limit(self) -> Spent:
        request = self.request(self.fresh_client())
        exchanges = answered([self.arena.send(request) for _ in range(self.limit + 3)])
        return Spent(exchanges, self.policy, self.limit)

    @property
    def longest_retry_s(self) -> int:
        """The longest lawful Retry-After, in seconds."""
        return math.ceil(self.window * (1 + 1 / self.limit)) + 1


def answered(exchanges: Iterable[Exchange], *, hint: str | None = None) -> list[Exchange]:
    """Every request got an HTTP answer within its time; else the check fails and says what came."""
    listed = list(exchanges)
    for exchange in listed:
        if exchange.failure is not None:
            raise CheckFailed(
                expected="an HTTP answer within 5 s",
                observed=exchange.failure,
                hint=hint,
                evidence=rows_of([exchange], mark=exchange),
                reading="Starting and stopping",
            )
    return listed


def _looks_like_policy(exchange: Exchange, policy: str, limit: int) -> bool:
    """Whether an answer may come from the outage policy: one by the limiter counts what is left."""
    if policy == "closed":
        return exchange.status == 503
    counted = [str(left) for left in range(1, limit)]
    return exchange.status == 200 and exchange.headers.get("x-ratelimit-remaining") not in counted


def _decision(exchange: Exchange, policy: str, limit: int) -> Decision:
    outcomes = {200: Outcome.ADMITTED, 429: Outcome.REJECTED}
    outcome = outcomes.get(exchange.status or 0, Outcome.UNKNOWN)
    if exchange.starved and _looks_like_policy(exchange, policy, limit):
        outcome = Outcome.UNKNOWN
    # What was not answered may still be decided at any later time.
    received = exchange.received if exchange.failure is None else math.inf
    return Decision(exchange.sent, received, outcome, process=exchange.request.process, ref=exchange)


def _exchange(decision: Decision) -> Exchange:
    assert isinstance(decision.ref, Exchange)
    return decision.ref
