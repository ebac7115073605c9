"""Crash points: a payment is brought to a boundary and held there, its process killed, and the key retried.

Payments that are held at different boundaries of one process die together: one kill visits several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labkit import CheckFailed, EvidenceRow, Inconclusive, Way, shortened

from .orders import Refund, Wish
from .points import AT_PROVIDER, WEB, AtRecord, AtStatement, Hold, Point
from .survey import ANNOUNCED_WITHIN_S, Survey, surveyed

if TYPE_CHECKING:
    from .bench import Bench

READING = "When a process dies"
TOGETHER = 3
REACHED_WITHIN_S = 4.0
ALONE_WITHIN_S = 4.0
TRIES = 1
REPEATS_WITHIN_S = 1.0


@dataclass
class Visit:
    """One payment, or refund, that was killed at a point."""

    point: Point
    wish: Wish
    at: float = 0.0
    process: str = ""
    reached: bool = False


@dataclass
class Sweep:
    """All visits of a check, and how to make what is to be killed."""

    bench: Bench
    make: Callable[[], Wish]
    visits: list[Visit] = field(default_factory=list)

    def at_provider(self) -> None:
        self.run(AT_PROVIDER)

    def at_record(self, way: Way) -> None:
        self.run([AtRecord(way)])
        self.let_repeats_come()

    def at_statements(self, way: Way) -> None:
        """All that web says to Postgres."""
        self.run(self._statements_of(surveyed(self.bench, self.make), WEB, way))

    def at_last_statements(self, way: Way, *, most: int = 4 * TOGETHER) -> None:
        """The last that web says before its answer: where what was taken is written down."""
        steps = self._statements_of(surveyed(self.bench, self.make), WEB, way)
        self.run([step for step in steps if not step.alone][-most:])

    def while_publishing(self) -> None:
        """The record, and all that others than web say to Postgres."""
        found = surveyed(self.bench, self.make)
        others = [process for process in self.bench.processes if process != WEB]
        steps = [point for name in others for way in Way for point in self._statements_of(found, name, way)]
        self.run([*map(AtRecord, Way), *steps])
        self.let_repeats_come()

    def _statements_of(self, found: Survey, process: str, way: Way) -> list[Point]:
        """Those after the answer alone: whoever says them may have no second hand."""
        said = found.of(process)
        return [
            AtStatement(boundary, way, process, said.idle, alone=late or process != WEB)
            for boundary, late in said.boundaries
        ]

    def run(self, points: Sequence[Point]) -> None:
        """Visit all points; those that were not reached once more, alone. Then everything has to hold."""
        for batch in _batches(points):
            self._visit(batch, within=REACHED_WITHIN_S)
        for _ in range(TRIES):
            for point in self._unreached(points):
                self._visit([point], within=ALONE_WITHIN_S)
        if len(self._unreached(points)) > len(points) // 2:
            missed = len(self._unreached(points))
            self.bench.stock.surveys.clear()  # the next try looks anew
            raise Inconclusive(f"{missed} of {len(points)} crash points did not come about")

    def _unreached(self, points: Sequence[Point]) -> list[Point]:
        reached = [visit.point for visit in self.visits if visit.reached]
        return [point for point in points if point not in reached]

    def _visit(self, points: Sequence[Point], *, within: float) -> None:
        visits = [Visit(point, self.make()) for point in points]
        self.visits += visits
        with ExitStack() as stack:
            holds, waiting = [], []
            for visit in visits:
                hold = stack.enter_context(visit.point.hold(self.bench, visit.wish))
                waiting.append(self.bench.wish_for(visit.wish, WEB))
                self._wait(hold, waiting[-1].done, alone=visit.point.alone, within=within)
                visit.reached = hold.reached.is_set()
                holds.append(hold)
            self._kill(visits, holds)
        for visit, answer in zip(visits, waiting, strict=True):
            self.bench.heard(visit.wish, answer.result())
        self._recover(visits)

    def _wait(self, hold: Hold, answered: Callable[[], bool], *, alone: bool, within: float) -> None:
        """Until it is held; once it has been answered, only what is published afterwards can be."""
        self.bench.arena.wait_for(hold.reached.is_set, answered, within=within)
        if alone:
            self.bench.arena.wait_for(hold.reached.is_set, within=within)

    def _kill(self, visits: Sequence[Visit], holds: Sequence[Hold]) -> None:
        held = [(visit, hold) for visit, hold in zip(visits, holds, strict=True) if visit.reached]
        for _, hold in held:
            hold.brink()
        for visit, hold in held:
            visit.process, visit.at = hold.process(), self.bench.arena.clock()
        for process in sorted({visit.process for visit, _ in held}):
            self.bench.arena.kill(process)
        for hold in holds:
            hold.after()

    def _recover(self, visits: Sequence[Visit]) -> None:
        for process in sorted({visit.process for visit in visits if visit.reached}):
            self.bench.arena.start(process)
        try:
            self.bench.settle([visit.wish for visit in visits], reading=READING, processes=[WEB])
        except CheckFailed as failure:
            raise with_table(failure, self) from None

    def let_repeats_come(self) -> None:
        """Wait until whoever publishes now has come past what the dead one left: it is at newer events.

        Otherwise the laws would be held against the first record, before anybody had sent it again.
        """
        later = [self.bench.lone_order() for _ in self.bench.replicas]
        for order, process in zip(later, self.bench.replicas, strict=True):
            self.bench.settle([order], reading=READING, processes=[process])
        self.bench.expect_announced(*later, within=ANNOUNCED_WITHIN_S)
        self.bench.arena.sleep(REPEATS_WITHIN_S)

    def expect_the_rests(self) -> None:
        """After a refund has ended 201, what it left can be given back as well."""
        done = [visit.wish for visit in self.visits if isinstance(visit.wish, Refund)]
        rests = [self.bench.rest_of(wish) for wish in done if self.bench.end_of(wish).status == 201]
        self.bench.settle(rests, reading=READING, processes=[WEB])
        hint = "what was set aside by a process that died is neither given back nor left"
        for rest in rests:
            self.bench.expect_paid(rest, reading=READING, hint=hint)

    def expect_conserved(self, *, reading: str = READING, hint: str | None = None) -> None:
        """As the bench's, with the table of crash points as evidence."""
        try:
            self.bench.expect_conserved(reading=reading, hint=hint)
        except CheckFailed as failure:
            raise with_table(failure, self) from None


def _batches(points: Sequence[Point]) -> Iterator[Sequence[Point]]:
    several = [point for point in points if not point.alone]
    for start in range(0, len(several), TOGETHER):
        yield several[start : start + TOGETHER]
    for point in points:
        if point.alone:
            yield [point]


def with_table(failure: CheckFailed, sweep: Sweep) -> CheckFailed:
    """The failure, with crash points against outcomes before its own evidence."""
    rows = shortened([_row(sweep.bench, visit) for visit in sweep.visits])
    return CheckFailed(
        expected=failure.expected,
        observed=failure.observed,
        hint=failure.hint,
        evidence=[*rows, *failure.evidence],
        reading=failure.reading,
        sure=failure.sure,
    )


def _row(bench: Bench, visit: Visit) -> EvidenceRow:
    """Where it was killed, and what came of it."""
    wish = visit.wish
    answers = bench.answers_to(wish)
    ended = bench.has_ended(wish)
    last = bench.end_of(wish).status if ended else (answers[-1].status or "no answer")
    if isinstance(wish, Refund):
        done, what = len(bench.provider.refunded(wish.order.source)), "refund"
    else:
        done, what = len(bench.provider.charged(wish.source)), "charge"
    return EvidenceRow(
        at=round(visit.at, 3) if visit.reached else None,
        who=visit.process or WEB,
        what=f"killed {visit.point.name}" if visit.reached else f"never {visit.point.name}",
        answer=f"{last} in the end, {done} {what}{'' if done == 1 else 's'}",
        mark=not ended or done > 1,
    )
