"""Races staged at the links: one side is held before a statement, the other goes on.

A hold ends within some seconds, since a right service may make the other side wait; only what has settled
is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from typing import TYPE_CHECKING

from labkit import Exchange, Inconclusive, Way

from .boundaries import Boundary, next_commit, reaches
from .orders import Order, Wish
from .provider import Turn
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
    idle = idle_texts(bench)[HELD]
    for nth in range(1, MOST_COMMITS + 1):
        tries = (_hold_commit(bench, nth=nth, idle=idle) for _ in range(TRIES))
        if not next((held for held in tries if held is not None), True):
            break


def _hold_commit(bench: Bench, *, nth: int, idle: frozenset[str]) -> bool | None:
    """Whether there was such a COMMIT; None where a starved machine may have kept the later ones back."""
    slow, later = bench.lone_order(), [bench.lone_order() for _ in range(3)]
    gate = bench.provider.gate()
    bench.provider.script(slow.source, Turn(done=gate))
    paying = [(slow, bench.wish_for(slow, HELD))]
    bench.arena.wait_for(gate.reached.is_set, paying[0][1].done, within=CHARGED_WITHIN_S)
    with bench.arena.link(HELD, "postgres").trap(next_commit(idle, nth=nth), way=Way.THERE) as trap:
        gate.open()
        bench.arena.wait_for(trap.caught.is_set, paying[0][1].done, within=CHARGED_WITHIN_S)
        held = trap.caught.is_set()
        begin, overtaken = bench.arena.clock(), False
        if held:
            bench.arena.tell(HELD, f"COMMIT number {nth} after the charge of {slow.order_id} held")
            paying += [(order, bench.wish_for(order, FREE)) for order in later]
            overtaken = _is_overtaken(bench, paying[1:])
    bench.arena.tell(HELD, "let go")
    for order, each in paying:
        answer = bench.came(order, each)
        bench.has_status(answer, 201, 409, *range(500, 600), reading="The relay", about=order)
    starved = bench.arena.starved_between(begin, bench.arena.clock())
    return None if held and starved and not overtaken else held


def _is_overtaken(bench: Bench, later: Sequence[tuple[Order, Future[Exchange]]]) -> bool:
    """Whether all of these are announced while an earlier one's COMMIT is held.

    They need not be: who publishes, or even who pays, may wait for what began before.
    """
    bench.arena.wait_for(lambda: all(each.done() for _, each in later), within=PATIENCE_S)
    return bench.expect_announced(*(order for order, _ in later), within=OVERTAKEN_WITHIN_S)
