"""Stage stampede: many ask at once for what is not cached."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from labkit import CheckFailed, Exchange, check, expect, rows_of, shortened

from .gauge import MARGIN_S, calm_until

if TYPE_CHECKING:
    from .bench import Bench
    from .costs import Loads

SERVED = "a-product-is-served-as-stored"
HITS = "a-repeated-get-is-a-hit"

# Enough to be a crowd, too few to keep a processor busy for long: a starved service would be in doubt.
CROWD = 8
STATEMENT_TAKES_S = 0.9
SIDE_BY_SIDE = 16
OPENING_S = 0.5
TAKEN_OVER_WITHIN_S = 3.0
# Less than any service has to wait for Postgres.
LEAVES_AFTER_S, NOTICED_WITHIN_S = 0.5, 0.3
DEAD_OWNER = "who holds the right to fill may be dead: how long does that right live?"


@check(
    points=2,
    kills=["everybody-loads", "waiters-load-again", "lock-released-by-another"],
    arena="counted",
    needs=HITS,
)
def test_a_cold_product_is_loaded_once_per_replica(bench: Bench) -> None:
    """Many GETs of one cold product at once reach Postgres at most once per replica, and all get it."""
    product = bench.product()
    requests = [bench.request("GET", product.id, process) for process in bench.replicas for _ in range(CROWD)]
    loads = bench.loads_of_all(requests, hold_s=STATEMENT_TAKES_S)

    for answer in loads.answers:
        bench.shows(answer, product, reading="Stampedes")
    _expect_one_load_each(bench, loads)


@check(points=1, kills=["a-load-ends-with-its-client"], arena="counted", needs=HITS)
def test_a_client_that_leaves_takes_no_load_along(bench: Bench) -> None:
    """When the client whose GET loads a cold product hangs up, all others who wait for it get the product."""
    product = bench.product()
    leaving = replace(bench.request("GET", product.id, "web-1"), deadline_s=LEAVES_AFTER_S)
    with bench.while_reading(leaving) as leader:
        held = bench.arena.clock()
        waiting = [bench.begin(bench.request("GET", product.id, "web-1")) for _ in range(CROWD)]
        leader.ends(within=2 * LEAVES_AFTER_S)
        bench.arena.tell("grader", "the client whose GET is loading hangs up")
        bench.arena.sleep(NOTICED_WITHIN_S)
        released = bench.arena.clock()
    answers = [bench.arena.less_hold(each.result(), held, released) for each in waiting]
    for answer in map(bench.came, answers):
        hint = "a load is shared by all who wait for it: it must not end with the one who began it"
        bench.shows(answer, product, reading="Stampedes", hint=hint)


@check(points=2, kills=["everybody-looks-for-the-absent"], arena="counted", needs=HITS)
def test_an_absence_is_looked_up_once_per_replica(bench: Bench) -> None:
    """Many GETs of one missing id at once reach Postgres at most once per replica, and all get 404."""
    id = bench.absent_id()
    requests = [bench.request("GET", id, process) for process in bench.replicas for _ in range(CROWD)]
    loads = bench.loads_of_all(requests, hold_s=0.4)

    for answer in loads.answers:
        bench.refused(answer, 404, reading="Stampedes")
    _expect_one_load_each(bench, loads)


@check(points=2, kills=["one-lock-for-all", "ten-connections"], arena="counted", needs=SERVED)
def test_different_products_load_side_by_side(bench: Bench) -> None:
    """Cold GETs of 16 different products load side by side: none waits for another's."""
    for hold_s in (OPENING_S, STATEMENT_TAKES_S):  # the first time only to have its connections opened
        products = [bench.product() for _ in range(SIDE_BY_SIDE)]
        requests = [bench.request("GET", product.id, "web-1") for product in products]
        loads = bench.loads_of_all(requests, hold_s=hold_s, enough=SIDE_BY_SIDE)

    for answer, product in zip(loads.answers, products, strict=True):
        bench.shows(answer, product, reading="Stampedes")
    waited = [one for one in loads.of["web-1"] if one.at > loads.released]
    if waited and len(loads.of["web-1"]) - len(waited) < SIDE_BY_SIDE:
        raise CheckFailed(
            expected=f"{SIDE_BY_SIDE} products asked of Postgres at the same time",
            observed=f"{len(loads.of['web-1']) - len(waited)}; the others only after these were answered",
            hint="what do they wait for: one lock for all products, or a connection?",
            evidence=shortened(rows_of(loads.answers)),
            reading="Stampedes",
            sure=loads.calm,
        )


@check(points=2, kills=["lock-lives-too-long"], arena="races", needs=HITS)
def test_a_killed_filler_holds_nobody_up(bench: Bench) -> None:
    """A replica killed while it fills an entry: another fills it within 3 s, and nobody waits longer."""
    product = bench.product()
    with bench.while_reading(bench.request("GET", product.id, "web-1")) as filler:
        waiting = [bench.begin(bench.request("GET", product.id, "web-2")) for _ in range(2)]
        bench.arena.sleep(0.1)
        if filler.caught:
            bench.arena.kill("web-1")
        killed = bench.arena.clock()
    _taken_over(bench, waiting)
    answers = [bench.came(each.result()) for each in waiting]

    for answer in answers:
        bench.shows(answer, product, reading="When a replica fails")
        waited = answer.received - killed - bench.arena.late_between(killed, max(answer.received, killed))
        expect(
            max(waited, 0.0),
            at_most=TAKEN_OVER_WITHIN_S,
            unit="s until the others had their answer, after the replica that was filling had been killed",
            hints=[(bool, DEAD_OWNER)],
            evidence=partial(bench.story, answers[0], answer),
            reading="When a replica fails",
        )
    left = max(TAKEN_OVER_WITHIN_S - (bench.arena.clock() - killed), 0.0)
    bench.expect_hits_again(
        product,
        ["web-2"],
        within=left,
        reading="When a replica fails",
        hint="the entry has to be filled by somebody else",
    )


def _taken_over(bench: Bench, waiting: list[Future[Exchange]]) -> None:
    """Fail the check where the replica has time for everybody else, but not for those who wait."""
    long_s = TAKEN_OVER_WITHIN_S + MARGIN_S
    if calm_until(bench, "web-2", lambda: all(each.done() for each in waiting), within=long_s) and not all(
        each.done() for each in waiting
    ):
        raise CheckFailed(
            expected=f"the others' answers within {TAKEN_OVER_WITHIN_S:g} s after the filling replica's end",
            observed=f"none after {long_s:g} s",
            hint=DEAD_OWNER,
            evidence=bench.arena.timeline(bench.arena.clock() - long_s - 1.0, bench.arena.clock()),
            reading="When a replica fails",
            sure=True,
        )


def _expect_one_load_each(bench: Bench, loads: Loads) -> None:
    answers = loads.answers
    for process, statements in loads.of.items():
        expect(
            len(statements),
            at_most=1,
            unit=f"statements about products at {process}, for {CROWD} GETs of one id at once",
            hints=[
                (lambda count: count >= CROWD, "every request loads for itself"),
                (bool, "some who waited loaded all the same: look again after the wait"),
            ],
            evidence=lambda: shortened(
                sorted(
                    [
                        *rows_of(answers[:2]),
                        *bench.statements_between(
                            min(answer.sent for answer in answers), max(answer.received for answer in answers)
                        ),
                    ],
                    key=lambda row: row.at or 0.0,
                )
            ),
            reading="Stampedes",
        )
