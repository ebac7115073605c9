"""Reads and writes from all sides with random faults, judged by interval."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
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
# A copy kept for a moment is still there so soon after the write that it misses.
FRESH_S = 0.4
WRITER_EVERY_S = 0.06
READER_EVERY_S = 0.03
# A replica that has lost Redis may do without it for so long after it is back.
RECOVERY_S = 5.0
# By then it is known of each answer whether its replica was starved: others that were under way have come.
KNOWN_AFTER_S = 0.3
NOTHING_JUDGED = "too few reads were asked of a replica that another one's write binds"


@dataclass(frozen=True)
class History:
    """What was asked of one product: all GETs, and all PUTs with the value of each."""

    product: Product
    gets: list[Exchange] = field(default_factory=list)
    puts: list[tuple[Exchange, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Judged:
    """What a history tells, once all is known of who was starved or cut off when.

    refusals  answers that no right service gives: the product is always there, and Postgres too
    """

    product: Product
    reads: Sequence[Read]
    writes: Sequence[Write]
    refusals: Sequence[Exchange]

    @property
    def telling(self) -> int:
        """Reads that a wrong cache could have got wrong: the newest write that binds them is another's, and
        so fresh that what is older is not over yet.
        """
        return sum(_tells(read, self.writes) for read in self.reads)


@dataclass(frozen=True)
class Trouble:
    """A time in which a replica could not reach Redis."""

    process: str
    begin: float
    end: float = math.inf


class Scenario:
    """Writers and readers on a few products while faults come and go."""

    def __init__(self, bench: Bench, products: int) -> None:
        self._histories = [History(bench.product()) for _ in range(products)]
        self._bench = bench
        self.histories: list[Judged] = []
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
        self._bench.arena.sleep(KNOWN_AFTER_S)
        self.histories = list(map(self._judge, self._histories))

    def _go_on_until_judged(self) -> None:
        """Replicas that were starved are not held to the strict law for 5 s: wait that long for reads."""
        end = self._bench.arena.clock() + RECOVERY_S + LENGTH_S
        while self._telling() < ENOUGH_READS and self._bench.arena.clock() < end:
            self._bench.arena.sleep(0.25)

    def _telling(self) -> int:
        return sum(self._judge(history).telling for history in self._histories)

    def _judge(self, history: History) -> Judged:
        gets, puts = list(history.gets), list(history.puts)
        reads = [read for get in gets if (read := self._read_of(get)) is not None]
        writes = [self._write_of(put, value) for put, value in puts]
        answers = [*gets, *(put for put, _ in puts)]
        refusals = [answer for answer in answers if answer.status not in (None, 200)]
        return Judged(history.product, reads, writes, refusals)

    def _write(self, writer: int) -> None:
        bench, count = self._bench, 0
        while not self._over.wait(WRITER_EVERY_S):
            history = self._histories[count % len(self._histories)]
            process = bench.replicas[(count + writer) % len(bench.replicas)]
            value = f"write {count} of writer {writer}"
            body = {**history.product.body, "name": value}
            request = bench.request("PUT", history.product.id, process, body)
            history.puts.append((bench.seen(bench.arena.send(request)), value))
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
            history = self._histories[(count + reader) % len(self._histories)]
            process = bench.replicas[count % len(bench.replicas)]
            request = bench.request("GET", history.product.id, process)
            history.gets.append(bench.seen(bench.arena.send(request)))
            count += 1

    def _read_of(self, exchange: Exchange) -> Read | None:
        """What it shows, if its replica is held to the strict law."""
        body = load(exchange.body) if exchange.status == 200 else None
        if not isinstance(body, dict) or not isinstance(body.get("version"), int):
            return None
        if self._is_troubled(exchange):
            return None
        process, sent, received = exchange.request.process, exchange.sent, exchange.received
        return Read(sent, received, str(body.get("name")), body["version"], process, exchange)

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


def _tells(read: Read, writes: Sequence[Write]) -> bool:
    binding = [write for write in writes if write.binds(read)]
    newest = max(binding, key=lambda write: write.version or 0, default=None)
    return newest is not None and newest.process != read.process and read.sent - newest.received < FRESH_S


def batched(numbers: list[float]) -> Iterator[tuple[float, float, float]]:
    """Three by three."""
    return zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)


def random_history(bench: Bench, *, products: int) -> Scenario:
    """Run a scenario; it has what was read and written of each product."""
    scenario = Scenario(bench, products)
    scenario.run()
    return scenario


def expect_enough_judged(bench: Bench, scenario: Scenario) -> None:
    """Inconclusive where the strict law binds next to no read, as where replicas were starved."""
    if sum(history.telling for history in scenario.histories) < LEAST_READS:
        raise Inconclusive(bench.doubt() or NOTHING_JUDGED)


def expect_lawful(bench: Bench, history: Judged, *, reading: str) -> None:
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
            # What a starved replica said, or wrote, is in no proof.
            sure=True,
        )
    for refusal in history.refusals:
        bench.has_status(
            refusal, 200, reading=reading, hint="the product was there all the time, and Postgres was as well"
        )


def _witness(bench: Bench, violation: Violation) -> list[EvidenceRow]:
    exchanges = [each.ref for each in violation.witness if isinstance(each.ref, Exchange)]
    mark = violation.contradiction.ref if violation.contradiction is not None else None
    rows = rows_of(exchanges, mark=mark if isinstance(mark, Exchange) else None)
    if exchanges:
        begin, end = min(each.sent for each in exchanges), max(each.received for each in exchanges)
        rows += bench.arena.timeline(begin, end)
    return sorted(rows, key=lambda row: row.at or 0.0)
