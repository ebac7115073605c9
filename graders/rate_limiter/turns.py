"""Bursts at the moments at which windows turn and clocks differ."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from labkit.clocks import time_of_day

if TYPE_CHECKING:
    from .bench import Bench
    from .spent import Spent

# Bursts before and after a window's turn, in windows: far enough from it that a late one stays on its side,
# near enough to each other that both in full are more than anything but a fixed window admits.
EARLY, LATE = 0.65, 1.1
# When a client asks two replicas whose clocks are W/2 apart, in windows since a turn of the one ahead, and
# how much later it asks that one again.
INTO, AGAIN = 0.3, 0.72
MOST_ATTEMPTS = 3


def bursts_around_a_turn(bench: Bench) -> Iterator[Spent]:
    """Full bursts just before and just after the moment at which a window may turn."""
    probe = bench.fresh_client()
    bench.burst(probe, 2 * bench.limit)
    turn = _wait_until_admitted(bench, probe, patience=2 * bench.window)
    yield _bursts_at(bench, turn + EARLY * bench.window, turn + LATE * bench.window)
    # A window may also begin with the client's first request.
    client = bench.fresh_client()
    first = bench.spend(client, 1)
    begun = first.exchanges[0].received
    yield _bursts_at(bench, begun + EARLY * bench.window, begun + LATE * bench.window, client, first)


def _bursts_at(
    bench: Bench, before: float, after: float, client: str | None = None, first: Spent | None = None
) -> Spent:
    client = client or bench.fresh_client()
    exchanges = list(first.exchanges) if first else []
    for moment in (before, after):
        bench.arena.sleep_until(moment)
        exchanges += bench.burst(client, bench.limit, processes=bench.replicas).exchanges
    return bench.spent(exchanges)


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


def bursts_on_skewed_clocks(bench: Bench) -> tuple[list[Spent], list[Spent]]:
    """(histories of single clients over time, short bursts of fresh clients at many phases)."""
    ahead, behind = bench.replicas
    quick = bench.spend(bench.fresh_client(), 3 * bench.limit, processes=[ahead, behind])
    begun = bench.arena.clock()
    short = []
    for number in range(10):
        bench.arena.sleep_until(begun + 0.06 * bench.window * number)
        short.append(bench.burst(bench.fresh_client(), bench.limit + 4, processes=bench.replicas))
    return [quick, *_over_three_windows(bench)], short


def _over_three_windows(bench: Bench) -> list[Spent]:
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
            break
    return tried
