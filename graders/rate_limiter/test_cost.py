"""Stage cost: what one decision takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit import check, expect

if TYPE_CHECKING:
    from .bench import Bench

LIMITS = "a-client-far-over-its-limit-is-rejected"

MOST_ROUND_TRIPS = 2


@check(points=3, kills=["a-round-trip-for-each-step", "a-refusal-costs-extra"], arena="outage", needs=LIMITS)
def test_a_decision_takes_two_round_trips_at_most(bench: Bench) -> None:
    """One decision, admitted or rejected, takes at most 2 round trips to Redis."""
    for outcome, trips in bench.round_trips().items():
        expect(
            trips,
            at_most=MOST_ROUND_TRIPS,
            unit=f"round trips to Redis for one request that is {outcome}",
            hints=[
                (lambda count: count > MOST_ROUND_TRIPS, "one script, or one pipeline, is one round trip")
            ],
            reading="Cost",
        )
