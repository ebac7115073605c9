"""Bursts at the moments at which windows turn and clocks differ."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from labkit import Inconclusive
from labkit.clocks import time_of_day

from .spent import TOO_BUSY

if TYPE_CHECKING:
    from .bench import Bench
    from .spent import Spent

# Bursts before and after a window's turn, in windows: far enough from it that a late one stays on its side,
# near enough to each other that both in full are more than anything but a fixed window admits.
EARLY, LATE = 0.65, 1.1
# In windows: the longest time within which two full bursts prove more than one budget and what it regains,
# with L = 20; and the machine's lateness that counts.
TOGETHER, LATE_SHARE = 0.9, 0.05
# When a client asks two replicas whose clocks are W/2 apart, in windows since a turn of the one ahead, and
# how much later it asks that one again.
INTO, AGAIN = 0.3, 0.72
MOST_ATTEMPTS = 5


def bursts_around_a_turn(bench: Bench) -> Iterator[Spent]:
    """Full bursts just before and just after the moment at which a window may turn.

    Tried again where the machine was too late for that, and Inconclusive where it always was.
    """
    # A declared fixed window may do all that comes of this.
    attempts = 1 if bench.algorithm == "fixed-window" else MOST_ATTEMPTS
    for bursts in (_around_a_turn_of_the_clock, _around_the_end_of_the_first_window):
        for attempt in range(attempts):
            spent, in_time = bursts(bench)
            yield spent
            if in_time:
                break
            if attempt == MOST_ATTEMPTS - 1:
                excuse_lateness(bench, spent)


def _around_a_turn_of_the_clock(bench: Bench) -> tuple[Spent, bool]:
    probe = bench.fresh_client()
    bench.burst(probe, 2 * bench.limit)
    turn = _wait_until_admitted(bench, probe, patience=2 * bench.window)
    return _bursts_around(bench, turn + bench.window, bench.fresh_client())


def _around_the_end_of_the_first_window(bench: Bench) -> tuple[Spent, bool]:
    """A window may also begin with the client's first request."""
    client = bench.fresh_client()
    first = bench.spend(client, 1)
    spent, in_time = _bursts_around(bench, first.exchanges[0].received + bench.window, client)
    return first + spent, in_time


def _bursts_around(bench: Bench, turn: float, client: str) -> tuple[Spent, bool]:
    """(both bursts, whether they came on their sides of the turn and near enough to each other)"""
    bench.arena.sleep_until(turn - (1 - EARLY) * bench.window)
    early = bench.burst(client, bench.limit, processes=bench.replicas)
    bench.arena.sleep_until(turn + (LATE - 1) * bench.window)
    late = bench.burst(client, bench.limit, processes=bench.replicas)
    length = late.ended - early.exchanges[0].sent
    return early + late, early.ended < turn and length < TOGETHER * bench.window


def excuse_lateness(bench: Bench, spent: Spent) -> None:
    """Inconclusive if the machine explains that requests came too late; a slow service is its own matter."""
    begin, end = spent.exchanges[0].sent, spent.ended
    starved = any(exchange.starved for exchange in spent.exchanges)
    if starved or bench.arena.late_between(begin, end) > LATE_SHARE * bench.window:
        raise Inconclusive(TOO_BUSY)


def _wait_until_admitted(bench: Bench, client: str, *, patience: float) -> float:
    """When the client was admitted again, on the clock."""
    deadline = bench.arena.clock() + patience
    while bench.arena.clock() < deadline:
        answer = bench.decided(bench.arena.send(bench.request(client)))
        if answer.status == 200:
            return answer.sent
        bench.arena.sleep(bench.window / 50)
    return bench.arena.clock()


def skew_is_seen(bench: Bench) -> bool:
    """Whether the replicas' Date headers show that their clocks differ."""
    names = list(bench.arena.setup.skew)
    dates = [
        bench.ask(bench.request(None, process=name, path="/healthz")).headers.get("date") for name in names
    ]
    times = [time_of_day(date) for date in dates]
    seen = None not in times and abs((times[0] or 0) - (times[1] or 0)) >= 1
    bench.arena.tell("grader", f"clocks skewed: {seen}")
    return seen


def bursts_on_skewed_clocks(bench: Bench) -> tuple[list[Spent], list[Spent], bool]:
    """(histories of single clients over time, short bursts of fresh clients at many phases, all in time)."""
    ahead, behind = bench.replicas
    quick = bench.spend(bench.fresh_client(), 3 * bench.limit, processes=[ahead, behind])
    begun = bench.arena.clock()
    short = []
    for number in range(10):
        bench.arena.sleep_until(begun + 0.06 * bench.window * number)
        short.append(bench.burst(bench.fresh_client(), bench.limit + 4, processes=bench.replicas))
    long, in_time = _over_three_windows(bench)
    return [quick, *long], short, in_time


def _over_three_windows(bench: Bench) -> tuple[list[Spent], bool]:
    """A client that meets three windows in less than W, if each replica goes by windows of its own clock.

    Such windows turn at multiples of W since 1970. The client spends what both replicas grant while the
    one ahead is a window further, and comes again when that one has turned once more. Tried again
    where the machine was too late for that.
    """
    ahead, _ = bench.replicas
    tried = []
    for _ in range(MOST_ATTEMPTS):
        client = bench.fresh_client()
        into = (time.time() + bench.arena.setup.skew[ahead]) / bench.window % 1
        begun = bench.arena.clock() + (INTO - into) % 1 * bench.window
        bench.arena.sleep_until(begun)
        first = bench.burst(client, 2 * bench.limit, processes=bench.replicas)
        bench.arena.sleep_until(begun + AGAIN * bench.window)
        tried.append(first + bench.burst(client, bench.limit, processes=[ahead]))
        turned_in_time = first.ended < begun + (0.5 - INTO) * bench.window
        if turned_in_time and tried[-1].ended < begun + bench.window:
            return tried, True
    return tried, False
