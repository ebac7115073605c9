"""A race for one budget, staged: a replica is held between two steps of a decision while another decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit import Inconclusive

from .spent import TOO_BUSY

if TYPE_CHECKING:
    from .bench import Bench
    from .spent import Spent

# No longer than the 100 ms by which a slow Redis may come later, which is no outage to anybody.
HELD_S = 0.08
SLOW_REDIS_S = 0.1
REACHED_WITHIN_S = 5.0


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
    pair = [first.result(), second.result()]
    if any(bench.may_be_policy(each) or (too_long and bench.looks_like_policy(each)) for each in pair):
        raise Inconclusive(TOO_BUSY)
    return bench.spent(pair, racing=True) + bench.spend(client, bench.limit, processes=[free, held])
