"""Stage caching: what is kept, how faithfully, and for how long."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from labkit import Exchange, check, expect

from .races import MOST_FLIGHTS
from .stock import BEYOND_FLOATS, LARGEST_ID

if TYPE_CHECKING:
    from .bench import Bench
    from .costs import Cost

SERVED = "a-product-is-served-as-stored"

REPEATS = 4
MANY = 1000
MANY_PRODUCTS = 16
LONGEST_GUARD_S = 10
CHANGED = "look at what the way into the cache and back does to this value"


@check(points=2, kills=["says-miss-for-ever"], arena="long", needs=SERVED)
def test_a_repeated_get_is_a_hit(bench: Bench) -> None:
    """A product that was asked for is cached for all replicas: a repeated GET says X-Cache: hit."""
    product = bench.product()
    bench.get(product.id, "web-1")

    bench.expect_hits_again(
        product,
        bench.replicas,
        reading="Caching",
        hint="is it put into Redis, where every replica finds it?",
    )


@check(
    points=2,
    kills=["integers-through-floats", "empty-becomes-null", "lists-through-floats"],
    arena="short",
    needs=SERVED,
)
def test_hits_equal_misses(bench: Bench) -> None:
    """The cached answer is the same JSON value as the first, also in lists: null, "", 0, {}, [], 2^53+1."""
    for description, price, attributes in (
        (None, 0, {}),
        ("", BEYOND_FLOATS, {"n": BEYOND_FLOATS, "big": LARGEST_ID}),
        ("🦊 “x”\n", LARGEST_ID, {"": [], "f": False, "z": 0, "e": {}, "d": [[{"a": None}]], "x": 0.1}),
    ):
        product = replace(
            bench.product(), description=description, price_cents=price, attributes=attributes, version=7
        )
        bench.stock.change(product)
        for _ in range(REPEATS):
            bench.shows(bench.get(product.id), product, reading="Caching", hint=CHANGED)
            bench.arena.sleep(0.02)
        bench.lists(bench.ask(bench.list_request([product.id], "web-1")), [product], reading="Caching")


@check(
    points=2,
    kills=[
        "entries-live-for-ever",
        "absences-live-as-long-as-products",
        "absences-of-lists-live-as-long-as-products",
        "life-varies-both-ways",
    ],
    arena="counted",
    needs=SERVED,
)
def test_every_key_has_a_time_to_live(bench: Bench) -> None:
    """Every key in Redis has a time to live: at most T for products, the negative one for absences."""
    products, written = [bench.product() for _ in range(MANY_PRODUCTS)], bench.product()
    for longest_s, what, act in (
        (bench.ttl, "GETs of products", lambda: [bench.get(product.id) for product in products]),
        (
            bench.ttl,
            "a list",
            lambda: bench.ask(bench.list_request([product.id for product in products], "web-1")),
        ),
        (max(bench.negative_ttl, 10), "a GET of a missing id", lambda: bench.get(bench.absent_id())),
        (
            max(bench.negative_ttl, 10),
            "a list of missing ids",
            lambda: bench.ask(bench.list_request([bench.absent_id() for _ in range(4)], "web-1")),
        ),
        (bench.ttl, "a PUT", lambda: bench.put(written.renamed("written"))),
        (max(bench.negative_ttl, 10), "a DELETE", lambda: bench.delete(written.id)),
    ):
        with bench.redis as redis:
            redis.flushdb()
        act()
        bench.arena.sleep(0.05)
        for key, time_ms in bench.times_to_live().items():
            expect(
                time_ms / 1000,
                at_least=0,
                at_most=longest_s,
                unit=f"s as the time to live of {key} after {what}",
                hints=[
                    (lambda time: time < 0, "no time to live: nobody will ever remove it"),
                    (bool, "it is the longest life: what varies may only be shorter"),
                ],
                evidence=bench.entry_rows,
                reading="Time to live",
                sure=time_ms >= 0,
            )


@check(points=2, kills=["expiry-in-a-second-step"], arena="races", needs=SERVED)
def test_no_key_is_ever_without_an_end(bench: Bench) -> None:
    """A replica that stops between two of its round trips to Redis leaves no key without a time to live."""
    product = bench.product()
    for request in (
        bench.request("GET", product.id, "web-1"),
        bench.request("GET", bench.absent_id(), "web-1"),
        bench.request("PUT", product.id, "web-1", product.body),
        bench.request("DELETE", product.id, "web-1"),
    ):
        for flights in range(1, MOST_FLIGHTS):
            with bench.redis as redis:
                redis.flushdb()
            with bench.while_at_redis(request, flights) as held:
                immortal = [key for key, time_ms in bench.times_to_live().items() if time_ms == -1]
                rows = bench.entry_rows()
            if not held.caught:
                break
            expect(
                immortal,
                equals=[],
                unit=f"as the keys without a time to live after {flights} round trips of a {request.method}",
                hints=[(bool, "what is done in two steps, a kill can leave half done")],
                evidence=rows,
                reading="Time to live",
                sure=True,
            )


@check(points=1, kills=["guards-live-for-a-quarter-minute"], arena="short", needs=SERVED)
def test_guards_live_ten_seconds_at_most(bench: Bench) -> None:
    """Where T is short no key lives longer than the 10 s that a lock, a guard or a generation may."""
    product, written = bench.product(), bench.product()
    bench.get(product.id)
    bench.get(bench.absent_id())
    bench.get(written.id)
    bench.put(written.renamed("written"))
    bench.get(written.id)
    bench.delete(written.id)

    longest_s = max(bench.ttl, bench.negative_ttl, LONGEST_GUARD_S)
    for key, time_ms in bench.times_to_live().items():
        expect(
            time_ms / 1000,
            at_most=longest_s,
            unit=f"s as the time to live of {key}",
            hints=[(bool, "what is left behind to warn others lives for 10 s at most")],
            evidence=bench.entry_rows,
            reading="Time to live",
            sure=True,
        )


@check(points=2, kills=["takes-a-cached-absence-for-a-miss"], arena="counted", needs=SERVED)
def test_absences_are_remembered(bench: Bench) -> None:
    """Repeated GETs of a missing id reach Postgres at most once per replica."""
    for process in bench.replicas:

        def asked(process: str = process) -> list[Cost]:
            request = bench.request("GET", bench.absent_id(), process)
            return [bench.cost_of(request) for _ in range(REPEATS)]

        costs = bench.at_best(asked, statements=1, round_trips=MANY)
        for cost in costs.of:
            bench.refused(cost.answer, 404, reading="Caching")
        expect(
            costs.statements,
            at_most=1,
            unit=f"statements for {REPEATS} GETs of a missing id at {process}",
            hints={REPEATS: "what is kept for an absence looks like nothing kept"},
            evidence=partial(bench.story, costs.of[0].answer, costs.of[-1].answer),
            reading="Caching",
            sure=costs.certain,
        )


@check(points=2, kills=["reads-prolong-the-entry", "lists-prolong-the-entry"], arena="short", needs=SERVED)
def test_a_change_in_the_table_shows_in_time(bench: Bench) -> None:
    """A change made directly in the table is visible within T + 1 s, however often it is read meanwhile."""
    changed, listed, absent = bench.product(), bench.product(), bench.new_product("made in the table")
    for product in (changed, listed):
        bench.warm(product)
    bench.refused(bench.get(absent.id), 404, reading="Products")
    new, in_list = (product.renamed("changed in the table") for product in (changed, listed))
    for product in (new, in_list, absent):
        bench.stock.change(product)
        bench.arena.tell("grader", f"row {product.id} written directly")

    due = bench.arena.clock() + max(bench.ttl, bench.negative_ttl) + 1
    answers: list[Exchange] = []
    while not answers or answers[-1].sent < due:
        answers = [bench.get(product.id) for product in (new, absent)]
        list_of_one = bench.ask(bench.list_request([in_list.id], "web-1"))
        bench.arena.sleep(0.1)
    hint = "a life that begins anew with each read never ends"
    for answer, product in zip(answers, (new, absent), strict=True):
        bench.shows(answer, product, reading="Time to live", hint=hint)
    bench.lists(list_of_one, [in_list], reading="Time to live")
