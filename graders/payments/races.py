"""Races staged at the links: one side is held before a statement, the other goes on.

A hold ends within some seconds, since a right service may make the other side wait; only what has settled
is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from labkit import Exchange, Inconclusive, Way

from .boundaries import Boundary, next_commit, reaches
from .orders import Order, Wish
from .points import records_held
from .survey import idle_texts, survey

if TYPE_CHECKING:
    from .bench import Bench

HELD, FREE = "web-1", "web-2"
TOGETHER = 3
# What a key or a payment is judged by is read at the beginning, before anybody asks the provider.
MOST_STEPS = 4 * TOGETHER
REACHED_WITHIN_S = 1.0
PATIENCE_S = 1.2
MOST_COMMITS = 4
LATER = 3
# Nobody is held up by these: who waits so long is waited for.
CHARGED_WITHIN_S = 5.0
OVERTAKEN_WITHIN_S = 1.9
TRIES = 3


def meet_at_each_statement(bench: Bench, make: Callable[[], tuple[Wish, Wish]]) -> None:
    """Hold the first of a pair before each of its first statements, while the second goes on elsewhere."""
    found = survey(bench, lambda: make()[0]).of(HELD)
    steps = [boundary for boundary, late in found.boundaries if not late][:MOST_STEPS]
    missed: list[Boundary] = []
    for start in range(0, len(steps), TOGETHER):
        missed += _meet(bench, steps[start : start + TOGETHER], make, found.idle)
    missed = [step for step in missed if _meet(bench, [step], make, found.idle)]
    if len(missed) > len(steps) // 2:
        raise Inconclusive(f"{len(missed)} of {len(steps)} meetings did not come about")


def _meet(
    bench: Bench, steps: Sequence[Boundary], make: Callable[[], tuple[Wish, Wish]], idle: frozenset[str]
) -> list[Boundary]:
    """The steps that the first of their pair has not reached."""
    link = bench.arena.link(HELD, "postgres")
    pairs = [make() for _ in steps]
    with ExitStack() as stack:
        waiting, missed = [], []
        for step, (first, _) in zip(steps, pairs, strict=True):
            trap = stack.enter_context(link.trap(reaches(step, idle), way=Way.THERE))
            waiting.append((first, bench.wish_for(first, HELD)))
            bench.arena.wait_for(trap.caught.is_set, waiting[-1][1].done, within=REACHED_WITHIN_S)
            missed += [] if trap.caught.is_set() else [step]
        others = [(second, bench.wish_for(second, FREE)) for _, second in pairs]
        bench.arena.wait_for(lambda: all(each.done() for _, each in others), within=PATIENCE_S)
    for wish, each in (*waiting, *others):
        bench.came(wish, each)
    return missed


def hold_each_commit(bench: Bench) -> None:
    """Hold each COMMIT of a payment that comes after its charge, while later ones are paid and announced."""
    _warm_up(bench, LATER)
    idle = idle_texts(bench)[HELD]
    for nth in range(1, MOST_COMMITS + 1):
        tries = (_hold_commit(bench, nth=nth, idle=idle) for _ in range(TRIES))
        if not next((held for held in tries if held is not None), True):
            break


def _hold_commit(bench: Bench, *, nth: int, idle: frozenset[str]) -> bool | None:
    """Whether there was such a COMMIT; None where a starved machine may have kept the later ones back."""
    later, overtaken = [bench.lone_order() for _ in range(LATER)], False
    with _slow_commit(bench, nth=nth, idle=idle) as slow:
        begin = bench.arena.clock()
        if slow.held:
            paying = [(order, bench.wish_for(order, FREE)) for order in later]
            overtaken = _is_overtaken(bench, paying)
            slow.paying += paying
    slow.expect_answers(bench)
    starved = bench.arena.starved_between(begin, bench.arena.clock())
    return None if slow.held and starved and not overtaken else slow.held


def commit_behind_the_relay(bench: Bench) -> None:
    """Let each COMMIT of a payment come while a later one is published, before it is marked as that."""
    _warm_up(bench, 1)
    idle = idle_texts(bench)[HELD]
    for nth in range(1, MOST_COMMITS + 1):
        if not _commit_behind(bench, nth=nth, idle=idle):
            break


def _commit_behind(bench: Bench, *, nth: int, idle: frozenset[str]) -> bool:
    """Whether there was such a COMMIT."""
    with ExitStack() as publishing:
        with _slow_commit(bench, nth=nth, idle=idle) as slow:
            if slow.held:
                traps = publishing.enter_context(records_held(bench, Way.BACK)).values()
                later = bench.lone_order()
                slow.paying.append((later, bench.wish_for(later, FREE)))
                bench.arena.wait_for(*(trap.caught.is_set for trap in traps), within=OVERTAKEN_WITHIN_S)
        bench.arena.wait_for(slow.waiting.done, within=PATIENCE_S)
    slow.expect_answers(bench)
    return slow.held


def _warm_up(bench: Bench, count: int) -> None:
    """So many payments at once: what prepares a new connection may wait for a transaction that is open."""
    orders = [bench.lone_order() for _ in range(count)]
    for order, each in [(order, bench.wish_for(order, FREE)) for order in orders]:
        bench.heard(order, each.result())
    bench.settle(orders, reading="The relay", processes=[FREE])


class _Slow:
    """A payment of which a COMMIT is slow, or none was `held`, and what is paid meanwhile."""

    def __init__(self, order: Order, waiting: Future[Exchange]) -> None:
        self.held = False
        self.waiting = waiting
        self.paying = [(order, waiting)]

    def expect_answers(self, bench: Bench) -> None:
        for order, each in self.paying:
            answer = bench.came(order, each)
            bench.has_status(answer, 201, 409, *range(500, 600), reading="The relay", about=order)


@contextmanager
def _slow_commit(bench: Bench, *, nth: int, idle: frozenset[str]) -> Iterator[_Slow]:
    """For the block, the nth COMMIT after the charge of a payment has not reached Postgres."""
    order = bench.lone_order()
    gate, waiting = bench.held_at_provider(order, HELD, charged=True)
    slow = _Slow(order, waiting)
    with bench.arena.link(HELD, "postgres").trap(next_commit(idle, nth=nth), way=Way.THERE) as trap:
        gate.open()
        bench.arena.wait_for(trap.caught.is_set, slow.waiting.done, within=CHARGED_WITHIN_S)
        slow.held = trap.caught.is_set()
        if slow.held:
            bench.arena.tell(HELD, f"COMMIT number {nth} after the charge of {order.order_id} held")
        yield slow
    bench.arena.tell(HELD, "let go")


def _is_overtaken(bench: Bench, later: Sequence[tuple[Order, Future[Exchange]]]) -> bool:
    """Whether all of these are announced while an earlier one's COMMIT is held.

    They need not be: who publishes, or even who pays, may wait for what began before.
    """
    bench.arena.wait_for(lambda: all(each.done() for _, each in later), within=PATIENCE_S)
    return bench.expect_announced(*(order for order, _ in later), within=OVERTAKEN_WITHIN_S)
