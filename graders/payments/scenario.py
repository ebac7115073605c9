"""Payments, refunds and repeats from all sides, while the provider fails and a replica is lost."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import islice
from typing import TYPE_CHECKING

from labkit import Exchange

from .orders import Order, Refund, Wish
from .provider import AT_ONCE, CUTS, FAILS, Turn

if TYPE_CHECKING:
    from .bench import Bench

ORDERS = 10
SIDE_BY_SIDE = 5
MOODS = (AT_ONCE, AT_ONCE, CUTS, FAILS, Turn(late_s=0.3))


def random_history(bench: Bench) -> None:
    """Run it to its end; what was begun may be open then, as whoever asked was cut off."""
    chance = bench.chance
    orders = [bench.lone_order() for _ in range(ORDERS)]
    for order in orders:
        bench.provider.script(order.source, *_moods(chance))
        bench.provider.script_refunds(order.source, *_moods(chance))
    lost = chance.choice(bench.replicas)
    lost_in = chance.randrange(1, 2 * ORDERS // SIDE_BY_SIDE)
    for number, batch in enumerate(_batches(_twice(orders, chance))):
        waiting = [(order, bench.wish_for(order, chance.choice(bench.replicas))) for order in batch]
        if number == lost_in:
            bench.arena.sleep(0.02)
            bench.arena.kill(lost)
        _hear(bench, waiting)
        if number == lost_in:
            bench.arena.start(lost)
        _hear(bench, _refunds(bench, batch))


def _moods(chance: random.Random) -> list[Turn]:
    return chance.choices(MOODS, k=3)


def _twice(orders: list[Order], chance: random.Random) -> list[Order]:
    """Each is asked for twice, in some order."""
    asked = orders * 2
    chance.shuffle(asked)
    return asked


def _batches(orders: Iterable[Order]) -> Iterator[list[Order]]:
    left = iter(orders)
    while batch := list(islice(left, SIDE_BY_SIDE)):
        yield batch


def _refunds(bench: Bench, orders: Iterable[Order]) -> list[tuple[Wish, Future[Exchange]]]:
    """Begin a refund of some that are paid; each may be of a half, so two of them are all there is."""
    begun: list[tuple[Wish, Future[Exchange]]] = []
    for order in orders:
        if bench.has_ended(order) and bench.end_of(order).status == 201 and bench.chance.random() < 0.6:
            id = bench.id_of(order, bench.end_of(order))
            refund: Refund = bench.refund_of(order, id, order.amount_cents // 2)
            begun.append((refund, bench.wish_for(refund, bench.chance.choice(bench.replicas))))
    return begun


def _hear(bench: Bench, waiting: Sequence[tuple[Wish, Future[Exchange]]]) -> None:
    for wish, each in waiting:
        bench.heard(wish, each.result())
