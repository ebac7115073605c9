"""Redis gone, replicas gone, and what one decision asks of Redis."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from labkit import CheckFailed, Exchange, Inconclusive, answered, expect, is_problem, rows_of, shortened
from labkit.clocks import time_of_day

from .spent import TOO_BUSY, Spent

if TYPE_CHECKING:
    from .bench import Bench

RECOVERY_S = 5.0
# Two answers that take so many times as long as they may need no second outage to tell.
GROSSLY = 2.0
# What a process needs to notice a signal, and less than by what a slow Redis may come later.
TAKEN_IN_S = 0.05


def terminate_during_a_request(bench: Bench, process: str) -> tuple[Exchange, int | None]:
    """SIGTERM while a request is on its way to Redis; (its answer, the exit code)."""
    bench.spend(bench.fresh_client(), 1, processes=[process])
    link = bench.arena.link(process, "redis")

    def go_on() -> None:
        bench.arena.sleep(TAKEN_IN_S)
        link.release()

    link.hold_after(0)
    try:
        waiting = bench.arena.begin(bench.request(bench.fresh_client(), process=process))
        bench.arena.wait_for(link.held.is_set, waiting.done, within=RECOVERY_S)
        code = bench.arena.terminate(process, then=go_on)
    finally:
        link.release()
    return waiting.result(), code


def kill_after_flights(bench: Bench, process: str, flights: int) -> str | None:
    """Kill a replica that has sent `flights` flights of one decision to Redis, before the next.

    The client of that decision, or None where a decision does not take so many.
    """
    bench.spend(bench.fresh_client(), 2, processes=[process])
    client = bench.fresh_client()
    link = bench.arena.link(process, "redis")
    link.hold_after(flights)
    waiting = bench.arena.begin(bench.request(client, process=process))
    while not link.held.is_set() and not waiting.done():
        bench.arena.sleep(0.001)
    reached = link.held.is_set()
    if reached:
        bench.arena.kill(process)
        link.cut()  # what is held was never sent, and must not arrive
        bench.arena.tell(process, f"died after {flights} round trips of its decision")
    link.release()
    if not reached and bench.may_be_policy(waiting.result()):
        raise Inconclusive(TOO_BUSY)
    return client if reached else None


def enforced_again(bench: Bench, *, within: float) -> tuple[bool, Spent]:
    """Whether fresh clients get exactly L again within so many seconds; and the last that was tried."""
    begin = bench.arena.clock()
    while True:
        tried = _try_limit(bench)
        if tried.admitted == bench.limit and len(tried.rejected) == len(tried) - bench.limit:
            return True, tried
        now = bench.arena.clock()
        if now - begin - bench.arena.late_between(begin, now) > within:
            return False, tried
        bench.arena.sleep(0.1)


def expect_limits_return(bench: Bench, *, within: float) -> None:
    """Fail the check unless fresh clients get exactly L again within so many seconds."""
    enforced, tried = enforced_again(bench, within=within)
    if not enforced:
        raise CheckFailed(
            expected=f"{bench.limit} of {len(tried)} requests of a fresh client admitted, then 429,"
            f" {within:g} s after Redis is back",
            observed=f"{tried.admitted} admitted, {len(tried.rejected)} rejected",
            hint=None
            if len(tried.rejected) == len(tried)
            else "does the service connect to Redis again by itself, and bring back what it needs there?",
            evidence=[*shortened(rows_of(tried.exchanges)), *bench.output("web-1")],
            reading="When Redis fails",
        )


def follows_policy(
    bench: Bench, outage: Callable[[], AbstractContextManager[None]], *, within: float, crowd: int = 0
) -> None:
    """Ask during an outage; an answer that came late once may have been the machine, twice is not.

    A `crowd` of requests of one client comes at once: the policy knows no budget.
    """
    worst: list[Exchange] = []
    for _ in range(2):
        exchanges = _ask_during(bench, outage, crowd)
        if all(exchange.took_s <= within for exchange in exchanges):
            break
        slowest, second, *_ = sorted(exchanges, key=lambda each: each.surely_took_s, reverse=True)
        if second.surely_took_s > GROSSLY * within:
            _came_late(second, exchanges, within=within)
        worst.append(slowest)
    else:
        _came_late(min(worst, key=lambda each: each.surely_took_s), exchanges, within=within)
    for exchange in exchanges:
        _is_by_policy(bench, exchange)


def _came_late(late: Exchange, exchanges: list[Exchange], *, within: float) -> None:
    if late.surely_took_s <= within:
        raise Inconclusive(TOO_BUSY)
    expect(
        late.took_s,
        at_most=within,
        unit="s for an answer while Redis cannot be asked",
        hints=[(bool, "time-outs and retries add up: give the whole decision one deadline")],
        evidence=rows_of(exchanges, mark=late),
        reading="When Redis fails",
        sure=True,
    )


def _ask_during(
    bench: Bench, outage: Callable[[], AbstractContextManager[None]], crowd: int
) -> list[Exchange]:
    _outlast_policy(bench)
    client = bench.fresh_client()
    bench.spend(client, bench.limit + 1)
    with outage():
        limited = [bench.request(client), bench.request(bench.fresh_client()), bench.request(client)]
        health = bench.request(None, path="/healthz")
        exchanges: list[Exchange] = []
        for request in (*limited, health):
            exchanges.append(bench.arena.send(request))
            if exchanges[-1].failure is not None:
                break
        else:
            exchanges += bench.arena.burst([bench.request(client)] * crowd)
    return answered(exchanges, hint="what waits for Redis needs a time-out, reading too")


def _outlast_policy(bench: Bench) -> None:
    """Wait while the service still answers as in the outage before this one, for as long as it may."""
    latest = bench.arena.clock() + RECOVERY_S
    while bench.ask(bench.request(bench.fresh_client())).status == 503 and bench.arena.clock() < latest:
        bench.arena.sleep(0.1)


def _is_by_policy(bench: Bench, exchange: Exchange) -> None:
    if exchange.request.path == "/healthz":
        hints = dict.fromkeys((500, 503), "health is not Redis' health")
        bench.has_status(exchange, 200, reading="When Redis fails", hints=hints)
        return
    wanted = 200 if bench.policy == "open" else 503
    declared = f'on_redis_outage = "{bench.policy}" is declared'
    hints = dict.fromkeys((200, 429, 503), declared)
    hints[500] = f"{declared}; which of the client library's errors is not caught?"
    bench.has_status(exchange, wanted, reading="When Redis fails", hints=hints)
    if bench.policy == "closed":
        is_problem(exchange)
        retry_after = exchange.headers.get("retry-after", "")
        expect(
            retry_after or "nothing",
            one_of=[retry_after] if _is_retry_after(retry_after) else ["seconds or a date"],
            unit="as Retry-After of a 503",
            hints=[(bool, "the client has to be told when it is worth another try")],
            evidence=rows_of([exchange], mark=exchange),
            reading="When Redis fails",
        )


def round_trips(bench: Bench, samples: int = 5) -> dict[str, int]:
    """The fewest round trips to Redis of `samples` requests, for admitted and for rejected ones."""
    link = bench.arena.link("web-1", "redis")
    client = bench.fresh_client()
    bench.spend(bench.fresh_client(), 3)
    counts: dict[str, list[int]] = {"admitted": [], "rejected": []}
    # Late replies keep the parts of one pipeline together, however slowly they are written.
    with bench.arena.faults("redis").slow(0.02):
        while min(map(len, counts.values())) < samples and sum(map(len, counts.values())) < 4 * bench.limit:
            before = link.flights
            answer = bench.decided(bench.arena.send(bench.request(client)))
            outcome = "admitted" if answer.status == 200 else "rejected"
            counts[outcome].append(link.flights - before)
    return {outcome: min(trips) for outcome, trips in counts.items() if trips}


def _try_limit(bench: Bench) -> Spent:
    request = bench.request(bench.fresh_client())
    exchanges = [bench.ask(request) for _ in range(bench.limit + 3)]
    return Spent(exchanges, bench.may_be_policy)


def _is_retry_after(text: str) -> bool:
    """Seconds or a date, as RFC 9110 has it; the contract asks for seconds on a 429 only."""
    return (text.isascii() and text.isdigit()) or time_of_day(text) is not None
