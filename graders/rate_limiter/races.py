"""Races for one budget, staged: decisions are held on their way to Redis, and let go when it hurts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from labkit import CheckFailed, Exchange, Inconclusive

from .spent import TOO_BUSY

if TYPE_CHECKING:
    from .bench import Bench
    from .spent import Spent

# No longer than the 100 ms by which a slow Redis may come later, which is no outage to anybody.
HELD_S = 0.08
SLOW_REDIS_S = 0.1
REACHED_WITHIN_S = 5.0


def in_rounds(bench: Bench, rounds: int, judge: Callable[[], None]) -> None:
    """Judge so many times. A round in doubt says nothing; Inconclusive where all of them are."""
    doubts = [doubt for _ in range(rounds) if (doubt := _doubt_in_round(bench, judge)) is not None]
    if len(doubts) == rounds:
        raise Inconclusive(doubts[-1])


def _doubt_in_round(bench: Bench, judge: Callable[[], None]) -> str | None:
    bench.forget()
    try:
        judge()
    except Inconclusive as inconclusive:
        return str(inconclusive)
    except CheckFailed as failure:
        doubt = None if failure.sure else bench.doubt()
        if doubt is None:
            raise
        return doubt
    return None


def burst_at_redis(bench: Bench, client: str, count: int) -> Spent:
    """`count` requests to one replica at once, let go together when they are on their way to Redis.

    So they come to Redis in one moment, however slowly they were sent.
    """
    name = bench.replicas[0]
    link = bench.arena.link(name, "redis")
    link.hold_after(0)
    try:
        waiting = [bench.arena.begin(bench.request(client, process=name)) for _ in range(count)]
        bench.arena.wait_for(
            link.held.is_set, lambda: all(each.done() for each in waiting), within=REACHED_WITHIN_S
        )
        since = bench.arena.clock()
        bench.arena.sleep(HELD_S)
    finally:
        link.release()
    too_long = bench.arena.clock() - since > SLOW_REDIS_S
    return bench.spent(_certain(bench, [each.result() for each in waiting], too_long), racing=True)


def lose_a_race(bench: Bench, client: str, flights: int) -> Spent:
    """A replica decides about a fresh client while another is held `flights` flights into its own decision.

    Then the client asks L times more. A decision of fewer flights is over before the other begins, and
    what keeps the other out, such as a lock, loses no race.
    """
    held, free = bench.replicas[:2]
    bench.spend(bench.fresh_client(), 2, processes=[held, free])
    link = bench.arena.link(held, "redis")
    link.hold_after(flights)
    try:
        first = bench.arena.begin(bench.request(client, process=held))
        bench.arena.wait_for(link.held.is_set, first.done, within=REACHED_WITHIN_S)
        since = bench.arena.clock()
        second = bench.arena.begin(bench.request(client, process=free))
        bench.arena.wait_for(second.done, within=HELD_S)
    finally:
        link.release()
    too_long = bench.arena.clock() - since > SLOW_REDIS_S
    pair = _certain(bench, [first.result(), second.result()], too_long)
    return bench.spent(pair, racing=True) + bench.spend(client, bench.limit, processes=[free, held])


def _certain(bench: Bench, exchanges: list[Exchange], held_too_long: bool) -> list[Exchange]:
    """The same, if no starved service, or one held for too long, may have answered by its outage policy."""
    for exchange in exchanges:
        if bench.may_be_policy(exchange) or (held_too_long and bench.looks_like_policy(exchange)):
            raise Inconclusive(TOO_BUSY)
    return exchanges
