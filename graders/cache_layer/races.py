"""Races brought about at the links: one side is held where it hurts, the other goes on.

A hold ends within 2 s where the other side is made to wait, as a right service may; then only what
has settled is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cached_property
from threading import Event
from typing import TYPE_CHECKING

from labkit import Exchange, Request, Statement, Way

if TYPE_CHECKING:
    from .bench import Bench

HELD_WITHIN_S = 1.0
PATIENCE_S = 1.5
# More round trips to Redis than one request may sensibly make.
MOST_FLIGHTS = 8


def about_products(statement: Statement) -> bool:
    return statement.is_about("products")


def commits(statement: Statement) -> bool:
    return statement.commits


class Held:
    """A request that is held; `caught` tells whether it came to that, `answer` what came of it."""

    def __init__(self, bench: Bench, request: Request) -> None:
        self.caught = False
        self._hold: tuple[float, float] | None = None
        self._bench = bench
        self._waiting = bench.begin(request)
        self._process = request.process

    @cached_property
    def answer(self) -> Exchange:
        """Wait for the end of the request, once it is released."""
        answer = self._waiting.result()
        return self._bench.seen(self._bench.arena.less_hold(answer, *self._hold) if self._hold else answer)

    def ends(self, *, within: float) -> None:
        """Wait for its end, for so many seconds at most."""
        self._bench.arena.wait_for(self._waiting.done, within=within)

    @property
    def ended(self) -> bool:
        return self._waiting.done()

    def wait_for(self, caught: Event, what: str) -> None:
        """Wait until it is held, or has ended without coming by."""
        self._bench.arena.wait_for(caught.is_set, self._waiting.done, within=HELD_WITHIN_S)
        self.caught = caught.is_set()
        self._bench.arena.tell(self._process, what if self.caught else "answered without being held")

    @contextmanager
    def at_postgres(self) -> Iterator[None]:
        """It is held there for the block: no such wait has anybody give up Redis."""
        begin = self._bench.arena.clock()
        yield
        if self.caught:
            self._hold = (begin, self._bench.arena.clock())

    def released(self) -> None:
        self._bench.arena.tell(self._process, "released")
        _ = self.answer


@contextmanager
def while_reading(bench: Bench, reader: Request) -> Iterator[Held]:
    """`reader` has its rows from Postgres, but they have not arrived."""
    with _held(bench, reader, about_products, Way.BACK, "rows held on their way back") as held:
        yield held


@contextmanager
def while_committing(bench: Bench, writer: Request) -> Iterator[Held]:
    """`writer` has sent what commits its write, but Postgres has not got it."""
    with _held(bench, writer, commits, Way.THERE, "commit held on its way to Postgres") as held:
        yield held


@contextmanager
def while_committed(bench: Bench, writer: Request) -> Iterator[Held]:
    """`writer`'s write is committed, but it does not know yet."""
    with _held(bench, writer, commits, Way.BACK, "committed; the answer is held") as held:
        yield held


@contextmanager
def while_at_redis(bench: Bench, request: Request, flights: int) -> Iterator[Held]:
    """`request` has made so many round trips to Redis, and the next is held."""
    link = bench.arena.link(request.process, "redis")
    link.hold_after(flights)
    held = Held(bench, request)
    try:
        held.wait_for(link.held, f"held before round trip {flights + 1} to Redis")
        yield held
    finally:
        link.release()
        held.released()


def patiently(
    bench: Bench, requests: list[Request], within: float = PATIENCE_S
) -> Callable[[], list[Exchange]]:
    """Begin requests and wait as long as a hold may last; gives the function that waits for the rest."""
    waiting = [bench.begin(request) for request in requests]
    bench.arena.wait_for(lambda: all(each.done() for each in waiting), within=within)
    return lambda: [bench.came(each.result()) for each in waiting]


def one_by_one(bench: Bench, *requests: Request, within: float = PATIENCE_S) -> Callable[[], list[Exchange]]:
    """Like `patiently`, but each begins when the one before it has ended; those left begin afterwards."""
    end = bench.arena.clock() + within
    waiting: list[Future[Exchange]] = []
    for request in requests:
        waiting.append(bench.begin(request))
        if not bench.arena.wait_for(waiting[-1].done, within=end - bench.arena.clock()):
            break
    left = requests[len(waiting) :]
    return lambda: [*(bench.came(each.result()) for each in waiting), *map(bench.ask, left)]


@contextmanager
def _held(
    bench: Bench, request: Request, matches: Callable[[Statement], bool], way: Way, what: str
) -> Iterator[Held]:
    with bench.arena.link(request.process, "postgres").trap(matches, way=way) as trap:
        held = Held(bench, request)
        held.wait_for(trap.caught, what)
        with held.at_postgres():
            yield held
    held.released()
