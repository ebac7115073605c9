"""How late a replica and its Postgres are while they keep somebody waiting.

What a busy machine does to one request it does to the small ones beside it. If these come at once all the
time, it is no want of processors that holds the other up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from labkit import CheckFailed, Exchange, Request

if TYPE_CHECKING:
    from .bench import Bench
    from .stock import Product

# Whoever waits for another service waits at least this long before giving it up.
AT_ONCE_S = 0.15
EVERY_S = 0.04
# More than all steps of one request together, if each of them is late by as much as may count as at once.
MARGIN_S = 1.0
# Nobody is kept waiting for longer, whatever is broken.
ANSWER_WITHIN_S = 5.0


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


def put_in_time(bench: Bench, product: Product, process: str) -> Exchange:
    """A PUT that has to be carried out within 5 s, whatever became of those before it."""
    request = bench.request("PUT", product.id, process, product.body)
    within = ANSWER_WITHIN_S + MARGIN_S
    waiting = bench.begin(replace(request, deadline_s=within + MARGIN_S))
    calm = calm_until(bench, process, waiting.done, within=within)
    if not waiting.done():
        raise CheckFailed(
            expected=f"an answer to PUT {request.path} at {process} within {ANSWER_WITHIN_S:g} s",
            observed=f"none after {within:g} s",
            hint="what does it wait for: has a write that failed, or died, left its lock behind?",
            evidence=bench.arena.timeline(bench.arena.clock() - within - 1.0, bench.arena.clock()),
            reading="Starting and stopping",
            sure=calm,
        )
    answer = bench.came(waiting.result())
    bench.has_status(answer, 201 if product.version == 1 else 200, reading="Products")
    return answer
