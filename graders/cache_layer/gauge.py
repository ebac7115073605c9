"""How late a replica and its Postgres are while they keep somebody waiting.

What a busy machine does to one request it does to the small ones beside it. If these come at once all the
time, it is no want of processors that holds the other up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from labkit import Request

if TYPE_CHECKING:
    from .bench import Bench

# Whoever waits for another service waits at least this long before giving it up.
AT_ONCE_S = 0.15
EVERY_S = 0.04
# More than all steps of one request together, if each of them is late by as much as may count as at once.
MARGIN_S = 1.0


def calm_until(bench: Bench, process: str, done: Callable[[], bool], *, within: float) -> bool:
    """Wait until `done`, for so many seconds at most; whether all was calm until then.

    Calm is a machine on which the replica's health and a new connection to Postgres come at once, each time.
    """
    end, calm = bench.arena.clock() + within, True
    while not done() and bench.arena.clock() < end:
        begin = bench.arena.clock()
        healthy = bench.arena.send(Request(process, "/healthz")).status == 200
        bench.stock.row(0)
        calm = calm and healthy and bench.arena.clock() - begin < AT_ONCE_S
        bench.arena.sleep(EVERY_S)
    return calm
