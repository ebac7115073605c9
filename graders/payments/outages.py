"""Services taken away, and processes told to stop, while payments are under way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from labkit import Exchange, Inconclusive

from .orders import Order
from .provider import Turn

if TYPE_CHECKING:
    from .bench import Bench

REACHED_WITHIN_S = 5.0
TAKEN_IN_S = 0.3


def terminate_during_a_payment(bench: Bench, order: Order, process: str) -> tuple[Exchange, int | None]:
    """SIGTERM while the payment is at the provider; (its answer, the exit code)."""
    gate = bench.provider.gate()
    bench.provider.script(order.source, Turn(seen=gate))

    def go_on() -> None:
        bench.arena.sleep(TAKEN_IN_S)
        gate.open()

    waiting = bench.wish_for(order, process)
    try:
        if not bench.arena.wait_for(gate.reached.is_set, waiting.done, within=REACHED_WITHIN_S):
            raise Inconclusive("the payment did not come to the provider in time")
        code = bench.arena.terminate(process, then=go_on)
    finally:
        gate.open()
    return bench.heard(order, waiting.result()), code


@contextmanager
def cut_off_from_kafka(bench: Bench) -> Iterator[None]:
    """Every process's way to Kafka is refused, as a broker's that is stopped."""
    links = [bench.arena.link(process, "kafka") for process in bench.processes]
    for link in links:
        link.refuse()
    bench.arena.tell("kafka", "refuses everybody")
    try:
        yield
    finally:
        for link in links:
            link.open()
        bench.arena.tell("kafka", "is there again")
