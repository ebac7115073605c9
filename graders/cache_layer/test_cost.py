"""Stage cost: statements to Postgres and round trips to Redis, counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit import check, expect

if TYPE_CHECKING:
    from .bench import Bench
    from .costs import Cost

HITS = "a-repeated-get-is-a-hit"
LISTS = "lists-keep-the-order-asked"

SAMPLES = 4


@check(points=3, kills=["two-round-trips-for-a-hit"], arena="counted", needs=HITS)
def test_a_hit_takes_one_round_trip(bench: Bench) -> None:
    """A repeated GET takes no statement to Postgres and one round trip to Redis."""
    product = bench.product()
    bench.warm(product)
    costs = [bench.cost_of(bench.request("GET", product.id, "web-1")) for _ in range(SAMPLES)]

    _expect_at_most(bench, costs, statements=0, round_trips=1, what="a repeated GET")


@check(
    points=2,
    kills=["a-statement-for-each-id", "a-round-trip-for-each-id"],
    arena="counted",
    needs=LISTS,
)
def test_a_list_takes_one_statement(bench: Bench) -> None:
    """A list takes at most one statement to Postgres and two round trips to Redis, cached or not."""
    for what, ids in (
        ("a list of products nobody has asked for", lambda: [bench.product().id for _ in range(12)]),
        ("a list of cached products", lambda: [_warm(bench) for _ in range(6)]),
        ("a list of which half is cached", lambda: [_warm(bench), bench.product().id, bench.absent_id()] * 1),
    ):
        costs = [bench.cost_of(bench.list_request(ids(), "web-1")) for _ in range(SAMPLES - 1)]

        _expect_at_most(bench, costs, statements=1, round_trips=2, what=what)


def _warm(bench: Bench) -> int:
    product = bench.product()
    bench.warm(product)
    return product.id


def _expect_at_most(bench: Bench, costs: list[Cost], *, statements: int, round_trips: int, what: str) -> None:
    """The cheapest of several requests: what else goes on in the service now and then is not theirs."""
    for cost in costs:
        bench.has_status(cost.answer, 200, reading="Cost")
    for counted, most, unit in (
        (min(cost.statements for cost in costs), statements, "statements to Postgres"),
        (min(cost.round_trips for cost in costs), round_trips, "round trips to Redis"),
    ):
        expect(
            counted,
            at_most=most,
            unit=f"{unit} for {what}",
            hints=[(bool, "what is asked one by one can be asked together")],
            evidence=lambda: bench.story(costs[-1].answer, costs[-1].answer),
            reading="Cost",
        )
