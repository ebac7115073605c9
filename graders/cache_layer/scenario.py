"""Reads and writes from all sides with random faults, judged by interval."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labkit import CheckFailed, EvidenceRow, Exchange, Inconclusive, rows_of
from labkit.history import Read, Violation, Write, invented_read, lost_update, stale_read

from .stock import Product
from .values import load

if TYPE_CHECKING:
    from .bench import Bench

LENGTH_S = 2.5
ENOUGH_READS = 30
LEAST_READS = 10
WRITER_EVERY_S = 0.06
READER_EVERY_S = 0.03
# A replica that has lost Redis may do without it for so long after it is back.
RECOVERY_S = 5.0


@dataclass
class History:
    """What was written to and read of one product."""

    product: Product
    reads: list[Read] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)


@dataclass(frozen=True)
class Trouble:
    """A time in which a replica could not reach Redis."""

    process: str
    begin: float
    end: float = math.inf


class Scenario:
    """Writers and readers on a few products while faults come and go."""

    def __init__(self, bench: Bench, products: int) -> None:
        self.histories = [History(bench.product()) for _ in range(products)]
        self._bench = bench
        self.judged = 0
        self._over = threading.Event()
        self._troubles: list[Trouble] = []
        # Drawn before the threads start, so that the seed gives the same plan.
        self._chances = [bench.chance.random() for _ in range(90)]
        self._lost_at = bench.chance.randrange(3)

    def run(self) -> None:
        with ThreadPoolExecutor(max_workers=6, thread_name_prefix="history") as pool:
            parts = [pool.submit(self._write, number) for number in range(2)]
            parts += [pool.submit(self._read, number) for number in range(4)]
            try:
                self._disturb()
                self._go_on_until_judged()
            finally:
                self._over.set()
            for part in parts:
                part.result()
        self.judged = self._judged

    def _go_on_until_judged(self) -> None:
        """Replicas that were starved are not held to the strict law for 5 s: wait that long for reads."""
        end = self._bench.arena.clock() + RECOVERY_S + LENGTH_S
        while self._judged < ENOUGH_READS and self._bench.arena.clock() < end:
            self._bench.arena.sleep(0.25)

    @property
    def _judged(self) -> int:
        """Reads that are bound by a write of another replica."""
        return sum(
            any(write.process != read.process and write.binds(read) for write in list(history.writes))
            for history in self.histories
            for read in list(history.reads)
        )

    def _write(self, writer: int) -> None:
        bench, count = self._bench, 0
        while not self._over.wait(WRITER_EVERY_S):
            history = self.histories[count % len(self.histories)]
            process = bench.replicas[(count + writer) % len(bench.replicas)]
            value = f"write {count} of writer {writer}"
            request = bench.request(
                "PUT", history.product.id, process, {**history.product.body, "name": value}
            )
            exchange = bench.seen(bench.arena.send(request))
            history.writes.append(self._write_of(exchange, value))
            count += 1

    def _write_of(self, exchange: Exchange, value: str) -> Write:
        body = load(exchange.body) if exchange.status == 200 else None
        version = body.get("version") if isinstance(body, dict) else None
        process, sent, received = exchange.request.process, exchange.sent, exchange.received
        return Write(sent, received, value, version, self._hidden_until(exchange), process, exchange)

    def _hidden_until(self, exchange: Exchange) -> float:
        """A replica that cannot reach Redis cannot tell it of a write: old entries live on for T."""
        return exchange.received + self._bench.ttl + 1 if self._is_troubled(exchange) else -math.inf

    def _is_troubled(self, exchange: Exchange) -> bool:
        """Whether its replica does without Redis, or may think that it has to."""
        return self._bench.arena.starved_lately(exchange) or any(
            trouble.process == exchange.request.process
            and trouble.begin <= exchange.received
            and exchange.sent <= trouble.end + RECOVERY_S
            for trouble in self._troubles
        )

    def _read(self, reader: int) -> None:
        bench, count = self._bench, 0
        while not self._over.wait(READER_EVERY_S):
            history = self.histories[(count + reader) % len(self.histories)]
            process = bench.replicas[count % len(bench.replicas)]
            exchange = bench.seen(bench.arena.send(bench.request("GET", history.product.id, process)))
            body = load(exchange.body) if exchange.status == 200 else None
            readable = isinstance(body, dict) and isinstance(body.get("version"), int)
            if readable and not self._is_troubled(exchange):
                value, version = str(body.get("name")), body["version"]
                history.reads.append(
                    Read(exchange.sent, exchange.received, value, version, process, exchange)
                )
            count += 1

    def _disturb(self) -> None:
        """One replica is cut off now and then, one is lost once; all of them have slow rows at times."""
        cut_off, lost, *_ = self._bench.replicas
        end = self._bench.arena.clock() + LENGTH_S
        for number, (what, where, length) in enumerate(batched(self._chances)):
            if self._bench.arena.clock() >= end:
                break
            if number == self._lost_at:
                self._lose(lost)
            elif what < 0.5:
                self._cut_off(cut_off, 0.2 + 0.3 * length)
            else:
                slow = self._bench.replicas[int(where * len(self._bench.replicas))]
                self._slow_rows(slow, 0.2 + 0.3 * length)
            self._bench.arena.sleep(0.1)

    def _slow_rows(self, process: str, seconds: float) -> None:
        link = self._bench.arena.link(process, "postgres")
        link.delay(0.1)
        self._bench.arena.tell(process, "its answers from Postgres come 100 ms later")
        self._bench.arena.sleep(seconds)
        link.delay(0.0)
        self._bench.arena.tell(process, "at full speed again")

    def _cut_off(self, process: str, seconds: float) -> None:
        with self._troubled(process), self._bench.cut_off_from_redis(process):
            self._bench.arena.sleep(seconds)

    def _lose(self, process: str) -> None:
        """Killed and started again: what it had acknowledged holds all the same."""
        self._bench.arena.kill(process)
        self._bench.arena.start(process)

    @contextmanager
    def _troubled(self, process: str) -> Iterator[None]:
        place = len(self._troubles)
        self._troubles.append(Trouble(process, self._bench.arena.clock()))
        try:
            yield
        finally:
            begin = self._troubles[place].begin
            self._troubles[place] = Trouble(process, begin, self._bench.arena.clock())


def batched(numbers: list[float]) -> Iterator[tuple[float, float, float]]:
    """Three by three."""
    return zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)


def random_history(bench: Bench, *, products: int) -> Scenario:
    """Run a scenario; it has what was read and written of each product."""
    scenario = Scenario(bench, products)
    scenario.run()
    return scenario


def expect_enough_judged(bench: Bench, scenario: Scenario) -> None:
    """Inconclusive where starved replicas left next to nothing that the strict law binds."""
    if scenario.judged < LEAST_READS and (doubt := bench.doubt()) is not None:
        raise Inconclusive(doubt)


def expect_lawful(bench: Bench, history: History, *, reading: str) -> None:
    """Fail the check if a law is proven broken."""
    product = history.product
    first = Read(0.0, 0.0, product.name, product.version)
    violation = (
        stale_read(history.reads, history.writes)
        or invented_read(history.reads, history.writes, first=first)
        or lost_update(history.writes)
    )
    if violation is not None:
        raise CheckFailed(
            expected=f"{violation.expected} ({violation.rule})",
            observed=violation.observed,
            evidence=_witness(bench, violation),
            reading=reading,
        )


def _witness(bench: Bench, violation: Violation) -> list[EvidenceRow]:
    exchanges = [each.ref for each in violation.witness if isinstance(each.ref, Exchange)]
    mark = violation.contradiction.ref if violation.contradiction is not None else None
    rows = rows_of(exchanges, mark=mark if isinstance(mark, Exchange) else None)
    if exchanges:
        begin, end = min(each.sent for each in exchanges), max(each.received for each in exchanges)
        rows += bench.arena.timeline(begin, end)
    return sorted(rows, key=lambda row: row.at or 0.0)
