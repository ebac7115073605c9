"""Stage races: many requests at the same moment."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from labkit import check
from labkit.history import burst_shortfall

if TYPE_CHECKING:
    from .bench import Bench

LIMITS = "a-client-far-over-its-limit-is-rejected"

ROUNDS = 6
# After how many flights to Redis a decision is held: one of two flights, and one that asks more than it may.
FLIGHTS = (1, 2)


@check(
    points=5,
    kills=["checks-then-acts", "same-instant-counts-once", "runs-out-of-connections"],
    arena="lifecycle",
    needs=LIMITS,
)
def test_a_burst_on_one_replica_gets_exactly_the_limit(bench: Bench) -> None:
    """Of many requests that reach one replica at once, exactly L are admitted."""
    asked = 6 * bench.limit
    hint = "is the budget read before others have written it, or one's entry written over another's?"
    too_many = dict.fromkeys(range(bench.limit + 1, asked), hint)
    too_many[asked] = f"all of them: {hint} does a full connection pool let all pass?"

    for burst in (bench.burst_at_redis, bench.burst):
        bench.in_rounds(
            ROUNDS // 2,
            partial(
                bench.exactly_the_limit,
                partial(burst, count=asked),
                unit=f"of {asked} requests to web-1 admitted, all at once",
                hints=too_many,
                reading="Races",
            ),
        )


@check(points=3, kills=["gives-up-after-a-lost-race"], arena="lifecycle", needs=LIMITS)
def test_a_lost_race_is_no_error(bench: Bench) -> None:
    """Requests that race for the budget get 200 or 429, nothing else, and the budget is spent in full."""
    asked = bench.limit + 2
    hint = "what another replica wrote since the reading: is it noticed, and the decision made anew?"

    for flights in FLIGHTS:
        bench.exactly_the_limit(
            partial(bench.lose_a_race, flights=flights),
            unit=f"of {asked} requests admitted, one held between its steps while another is decided",
            hints={bench.limit + 1: hint},
            reading="Races",
        )
    for _ in range(ROUNDS):
        burst = bench.burst(bench.fresh_client(), 3 * bench.limit, processes=bench.replicas)

        bench.holds(burst_shortfall(burst.decisions, limit=bench.limit), reading="Races")
