"""Stage races: one side is held at its worst moment, the other goes on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from labkit import Exchange, Request, Way, check, expect

from .races import MOST_FLIGHTS, PATIENCE_S, Held, about_products
from .stock import Product

if TYPE_CHECKING:
    from .bench import Bench

HITS = "a-repeated-get-is-a-hit"

# More round trips to Redis than a write makes before its last.
MOST_ANNOUNCING = 3
# By so much a Redis may be slow that nobody can take for down.
SLOW_REDIS_S = 0.1
# An entry that is read so often is loaded anew by then, at its end or before.
READ_EVERY_S, REFRESHED_WITHIN_S = 0.04, 0.5
# So long any load may take: a miss has 3 s, also where Postgres is down.
LONG_FILL_S = 1.8

LATE = "a fill that began before the write has come after it: what does the fill look at?"


@check(points=1, kills=["fills-without-looking"], arena="long", needs=HITS, alone=True)
def test_a_late_fill_hides_no_write(bench: Bench) -> None:
    """A reader that has the old row in its hands while a PUT is answered does not bring it back."""
    for reader, writer in (("web-1", "web-2"), ("web-1", "web-1")):
        product = bench.product()
        new = product.renamed(f"written at {writer} before the fill")
        with bench.while_reading(bench.request("GET", product.id, reader)):
            written = _patiently_put(bench, new, writer)
        bench.shown_everywhere(new, new.id, since=written(), reading="Races", hint=LATE)


@check(points=1, kills=["warns-for-a-second"], arena="counted", needs=HITS)
def test_a_fill_later_than_a_short_guard_hides_no_write(bench: Bench) -> None:
    """A reader that gets its row seconds after a PUT was answered does not bring it back."""
    product = bench.product()
    new = product.renamed("written seconds before the fill")
    with bench.while_reading(bench.request("GET", product.id, "web-1")):
        writing = bench.begin(bench.request("PUT", new.id, "web-2", new.body))
        if bench.arena.wait_for(writing.done, within=PATIENCE_S):
            bench.arena.sleep_until(writing.result().received + LONG_FILL_S)
    written = bench.came(writing.result())
    bench.has_status(written, 200, reading="Products")
    hint = "what warned of the write had ended: does the fill take that for nothing written?"
    bench.shown_everywhere(new, new.id, since=written, reading="Races", hint=hint)


@check(points=1, kills=["fills-without-looking"], arena="races", needs=HITS)
def test_a_late_fill_hides_no_delete(bench: Bench) -> None:
    """A reader that has the row in its hands while a DELETE is answered does not bring it back."""
    product = bench.product()
    with bench.while_reading(bench.request("GET", product.id, "web-1")):
        deleted = bench.patiently([bench.request("DELETE", product.id, "web-2")])
    (answer,) = deleted()
    bench.has_status(answer, 204, reading="Products")
    bench.shown_everywhere(None, product.id, since=answer, reading="Races", hint=LATE)


@check(points=2, kills=["versions-order-fills"], arena="races", needs=HITS)
def test_a_late_fill_hides_no_new_creation(bench: Bench) -> None:
    """A reader that has version 7 while the product is deleted and made anew does not bring it back."""
    product = replace(bench.product(), version=7)
    bench.stock.change(product)
    new = replace(product, name="made anew", version=1)
    with bench.while_reading(bench.request("GET", product.id, "web-1")):
        rest = bench.one_by_one(
            bench.request("DELETE", product.id, "web-2"), bench.request("PUT", new.id, "web-2", new.body)
        )
    deleted, made = rest()
    bench.has_status(deleted, 204, reading="Products")
    bench.has_status(made, 201, reading="Products")
    hint = "a version that begins again is no order: here 7 came before 1"
    bench.shown_everywhere(new, new.id, since=made, reading="Races", hint=hint)


@check(points=2, kills=["fills-absences-without-looking"], arena="races", needs=HITS)
def test_a_late_absence_hides_no_creation(bench: Bench) -> None:
    """A reader that has found nothing while a PUT creates the product does not hide it afterwards."""
    product = bench.new_product()
    with bench.while_reading(bench.request("GET", product.id, "web-1")):
        created = _patiently_put(bench, product, "web-2")
    bench.shown_everywhere(product, product.id, since=created(), reading="Races", hint=LATE)


@check(points=2, kills=["looks-then-fills"], arena="races", needs=HITS)
def test_a_fill_held_at_redis_hides_no_write(bench: Bench) -> None:
    """A reader held before any of its round trips to Redis, while a PUT is answered, hides it from nobody."""
    for flights in range(MOST_FLIGHTS):
        product = bench.product()
        new = product.renamed(f"written while a reader was held after {flights} round trips")
        reader = bench.request("GET", product.id, "web-1")
        with bench.while_at_redis(reader, flights) as held:
            written = _patiently_put(bench, new, "web-2")
        bench.shown_everywhere(new, new.id, since=written(), reading="Races", hint=LATE)
        if not held.caught:
            break


@check(
    points=2,
    kills=["lists-fill-without-looking", "lists-fill-absences-without-looking"],
    arena="races",
    needs=HITS,
)
def test_a_late_list_hides_no_write(bench: Bench) -> None:
    """A list that has old rows in its hands while a PUT is answered does not bring them back, nor gaps."""
    product, other = bench.product(), bench.product()
    for new in (product.renamed("written before the list was filled"), bench.new_product()):
        with bench.while_reading(bench.list_request([other.id, new.id], "web-1")):
            written = _patiently_put(bench, new, "web-2")
        bench.shown_everywhere(new, new.id, since=written(), reading="Races", hint=LATE)


@check(points=2, kills=["invalidates-before-commit"], arena="races", needs=HITS)
def test_a_read_before_the_commit_hides_no_write(bench: Bench) -> None:
    """Reads while a PUT waits for its COMMIT may show the old row, but leave none of it behind."""
    for warm in (True, False):
        product = bench.product()
        new = product.renamed("committed after others had read")
        if warm:
            bench.warm(product)
        with bench.while_committing(bench.request("PUT", new.id, "web-1", new.body)) as writer:
            read = bench.patiently([bench.request("GET", new.id, name) for name in bench.replicas])
        read()
        bench.has_status(writer.answer, 200, reading="Products")
        bench.shown_everywhere(
            new,
            new.id,
            since=writer.answer,
            reading="Races",
            hint="the entry was dropped before the row had changed: readers have put the old one back",
        )


@check(points=2, kills=["joins-a-load-begun-before-the-write"], arena="races", needs=HITS)
def test_a_get_after_a_write_joins_no_earlier_load(bench: Bench) -> None:
    """A GET sent after a PUT shows it, though a load that began before the PUT is still under way there."""
    for writer in ("web-2", "web-1"):
        product = bench.product()
        new = product.renamed("written while a load was under way")
        with bench.while_reading(bench.request("GET", new.id, "web-1")):
            put = bench.patiently([bench.request("PUT", new.id, writer, new.body)])
            later = bench.patiently([bench.request("GET", new.id, "web-1")] * 2, within=0.4)
        written = put()[0]
        bench.has_status(written, 200, reading="Products")
        for answer in later():
            if answer.sent > written.received:
                bench.shows(
                    answer,
                    new,
                    reading="Races",
                    since=written,
                    hint="it was given the result of a load that began before the write",
                )


@check(points=2, kills=["writes-through-in-any-order"], arena="races", needs=HITS)
def test_two_writers_end_in_the_table(bench: Bench) -> None:
    """Of two PUTs, the one that Postgres has last is what every replica shows, whoever is slow."""
    for hold in _HOLDS:
        product = bench.product()
        slow = bench.request("PUT", product.id, "web-1", product.body | {"name": "of the slow writer"})
        quick = bench.request("PUT", product.id, "web-2", product.body | {"name": "of the quick writer"})
        answer = _both_write(bench, hold, slow, quick)
        bench.has_status(answer, 200, reading="Products")
        _expect_the_row(bench, product.id, since=answer)


@check(points=2, kills=["a-delete-writes-the-absence"], arena="long", needs=HITS, alone=True)
def test_a_put_and_a_delete_end_in_the_table(bench: Bench) -> None:
    """Of a PUT and a DELETE, the one that Postgres has last is what every replica shows, whoever is slow."""
    for hold in _HOLDS:
        for methods in (("DELETE", "PUT"), ("PUT", "DELETE")):
            product = bench.product()
            slow, quick = (
                bench.request(method, product.id, process, product.body if method == "PUT" else None)
                for method, process in zip(methods, bench.replicas, strict=True)
            )
            answer = _both_write(bench, hold, slow, quick)
            bench.has_status(answer, 200, 201, 204, 404, reading="Products")
            _expect_the_row(bench, product.id, since=answer)


@check(
    points=2,
    kills=["announces-after-the-answer", "announces-a-deletion-after-the-answer"],
    arena="races",
    needs=HITS,
)
def test_the_answer_to_a_write_is_its_last_step(bench: Bench) -> None:
    """A write is answered only when nobody is shown what it replaced, also where Redis is slow by 100 ms."""
    for method in ("PUT", "DELETE"):
        for flights in range(MOST_ANNOUNCING):
            product = bench.product()
            bench.warm(product)
            new = product.renamed(f"written while its writer was held after {flights} round trips")
            write = bench.request(method, new.id, "web-1", new.body if method == "PUT" else None)
            with bench.while_at_redis(write, flights) as held:
                begun = bench.arena.clock()
                held.ends(within=SLOW_REDIS_S)
                slow = bench.arena.clock() - begun > 2 * SLOW_REDIS_S
                if held.ended and not slow:  # whatever it has not told Redis by now comes too late
                    hint = "the replica was answered before the cache had been told: do both, then answer"
                    shown = bench.get(new.id, "web-2")
                    left = new if method == "PUT" else None
                    bench.shows(shown, left, since=held.answer, reading="Freshness", hint=hint)
            if not held.caught:
                break


@check(points=1, kills=["refreshes-ahead-without-looking"], arena="crash", needs=HITS)
def test_a_refresh_hides_no_write(bench: Bench) -> None:
    """What loads an entry anew while it is read, before its end or at it, hides no write made meanwhile."""
    product = bench.product()
    bench.warm(product)
    new = product.renamed("written while the entry was loaded anew")
    over = bench.arena.clock() + bench.ttl + REFRESHED_WITHIN_S
    with bench.arena.link("web-1", "postgres").trap(about_products, way=Way.BACK) as trap:
        reads = [bench.begin(bench.request("GET", product.id, "web-1"))]
        while not trap.caught.is_set() and bench.arena.clock() < over:
            bench.arena.wait_for(trap.caught.is_set, within=READ_EVERY_S)
            reads.append(bench.begin(bench.request("GET", product.id, "web-1")))
        written = _patiently_put(bench, new, "web-2")
    answer = written()
    for read in reads:
        bench.came(read.result())
    bench.shown_everywhere(new, new.id, since=answer, reading="Races", hint=LATE)


def _patiently_put(bench: Bench, product: Product, process: str) -> Callable[[], Exchange]:
    """Begin a PUT and wait as long as a hold may last; gives the function that waits for its answer."""
    rest = bench.patiently([bench.request("PUT", product.id, process, product.body)])

    def answer() -> Exchange:
        (written,) = rest()
        bench.has_status(written, 201 if product.version == 1 else 200, reading="Products")
        return written

    return answer


def _both_write(bench: Bench, hold: Hold, slow: Request, quick: Request) -> Exchange:
    """The quick one writes while the slow one is held; the quick one's answer, when both have ended."""
    with hold(bench, slow):
        waiting = bench.begin(quick)
        if bench.arena.wait_for(waiting.done, within=PATIENCE_S):
            _shows_nothing_older(bench, waiting.result())
    return bench.came(waiting.result())


def _shows_nothing_older(bench: Bench, written: Exchange) -> None:
    """While the slow one is held still, whoever reads after the quick one's answer reads that, or later."""
    request = written.request
    if request.method != "PUT" or written.status != 200:
        return
    bench.seen(written)
    for process in bench.replicas:
        shown = bench.ask(Request(process, request.path))
        bench.has_status(shown, 200, reading="Races")
        expect(
            shown.json()["version"],
            at_least=written.json()["version"],
            unit="as the version shown while another writer is under way",
            hints=[(bool, "what one writer leaves behind for readers, another may take away")],
            evidence=partial(bench.story, written, shown),
            reading="Races",
        )


def _expect_the_row(bench: Bench, id: int, *, since: Exchange) -> None:
    bench.shown_everywhere(
        bench.stock.row(id),
        id,
        since=since,
        reading="Races",
        hint="the slower writer has told the cache last, though not the table",
    )


def _held_after_commit(bench: Bench, slow: Request) -> AbstractContextManager[Held]:
    return bench.while_committed(slow)


def _held_before_commit(bench: Bench, slow: Request) -> AbstractContextManager[Held]:
    return bench.while_committing(slow)


def _held_at_redis(flights: int) -> Callable[[Bench, Request], AbstractContextManager[Held]]:
    return lambda bench, slow: bench.while_at_redis(slow, flights)


Hold = Callable[["Bench", Request], AbstractContextManager[Held]]
_HOLDS: tuple[Hold, ...] = (_held_after_commit, _held_before_commit, *map(_held_at_redis, range(4)))
