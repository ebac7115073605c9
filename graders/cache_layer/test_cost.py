"""Stage cost: statements to Postgres and round trips to Redis, counted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from labkit import CheckFailed, Request, check, expect

if TYPE_CHECKING:
    from .bench import Bench

HITS = "a-repeated-get-is-a-hit"
LISTS = "lists-keep-the-order-asked"

COLD = 3


@check(points=2, kills=["two-round-trips-for-a-hit", "says-hit-for-ever"], arena="counted", needs=HITS)
def test_a_hit_takes_one_round_trip(bench: Bench) -> None:
    """A repeated GET takes no statement to Postgres and one round trip to Redis, and only then says hit."""
    cold = [bench.cost_of(bench.request("GET", bench.product().id, "web-1")) for _ in range(COLD)]
    said = [cost.answer.headers.get("x-cache", "").strip().lower() for cost in cold if cost.statements]
    if said and set(said) == {"hit"}:
        raise CheckFailed(
            expected="X-Cache: miss for what nobody has asked for, and Postgres was asked about",
            observed=f"X-Cache: hit, {len(said)} times of {len(cold)}",
            evidence=bench.story(cold[0].answer, cold[-1].answer),
            reading="Caching",
        )
    product = bench.product()
    bench.warm(product)

    _expect_at_most(
        bench,
        lambda: bench.request("GET", product.id, "web-1"),
        statements=0,
        round_trips=1,
        what="a repeated GET",
        hint="a hit that asks Postgres is none; what Redis is asked twice can be asked at once",
    )


@check(
    points=2,
    kills=["a-statement-for-each-id", "a-round-trip-for-each-id"],
    arena="counted",
    needs=LISTS,
)
def test_a_list_takes_one_statement(bench: Bench) -> None:
    """A list takes at most one statement to Postgres and two round trips to Redis, cached or not."""
    cached = [bench.product() for _ in range(6)]
    for product in cached:
        bench.warm(product)
    ids = [product.id for product in cached]
    for what, asked in (
        ("a list of products nobody has asked for", lambda: [bench.product().id for _ in range(12)]),
        ("a list of cached products", lambda: ids),
        ("a list of which half is cached", lambda: [*ids[:2], bench.product().id, bench.absent_id()]),
    ):
        _expect_at_most(
            bench,
            partial(_list_of, bench, asked),
            statements=1,
            round_trips=2,
            what=what,
            hint="what is asked one by one can be asked together",
        )


def _list_of(bench: Bench, ids: Callable[[], list[int]]) -> Request:
    return bench.list_request(ids(), "web-1")


def _expect_at_most(
    bench: Bench,
    request: Callable[[], Request],
    *,
    statements: int,
    round_trips: int,
    what: str,
    hint: str,
) -> None:
    costs = bench.at_best(lambda: [bench.cost_of(request())], statements=statements, round_trips=round_trips)
    answer = costs.of[-1].answer
    bench.has_status(answer, 200, reading="Cost")
    for counted, most, unit in (
        (costs.statements, statements, "statements to Postgres"),
        (costs.round_trips, round_trips, "round trips to Redis"),
    ):
        expect(
            counted,
            at_most=most,
            unit=f"{unit} for {what}",
            hints=[(bool, hint)],
            evidence=lambda: bench.story(answer, answer),
            reading="Cost",
            sure=costs.certain,
        )
