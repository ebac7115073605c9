"""Crash points: a payment is brought to a boundary and held there, its process killed, and the key retried.

Payments that are held at different boundaries of one process die together: one kill visits several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Protocol

from labkit import CheckFailed, EvidenceRow, Inconclusive, Message, Way, shortened

from .boundaries import Boundary, reaches
from .orders import Refund, Wish
from .provider import Turn
from .survey import ANNOUNCED_WITHIN_S, Survey, survey

if TYPE_CHECKING:
    from .bench import Bench

READING = "When a process dies"
WEB = "web-1"
TOGETHER = 3
REACHED_WITHIN_S = 4.0
ALONE_WITHIN_S = 4.0
TRIES = 1
SENT_WITHIN_S = 0.5
REPEATS_WITHIN_S = 1.0


@dataclass
class Hold:
    """A payment on its way to a crash point.

    reached  set when it is held there
    process  the one to be killed
    brink    is called in the last moment before the kill
    after    is called when the process is dead, and lets go of what is held
    """

    reached: Event
    process: Callable[[], str]
    after: Callable[[], None]
    brink: Callable[[], None] = lambda: None


class Point(Protocol):
    """A boundary of a payment; `name` goes on with "killed ..."."""

    @property
    def name(self) -> str: ...

    @property
    def alone(self) -> bool:
        """Whether no other payment can be held beside."""

    @contextmanager
    def hold(self, bench: Bench, wish: Wish) -> Iterator[Hold]: ...


@dataclass(frozen=True)
class AtStatement:
    """A statement on its way to Postgres, or carried out with its answer on the way back."""

    boundary: Boundary
    way: Way
    process: str
    idle: frozenset[str]
    alone: bool = False

    @property
    def name(self) -> str:
        return f"{'before' if self.way is Way.THERE else 'after'} {self.boundary}"

    @contextmanager
    def hold(self, bench: Bench, _: Wish) -> Iterator[Hold]:
        link = bench.arena.link(self.process, "postgres")
        with link.trap(reaches(self.boundary, self.idle), way=self.way) as trap:
            yield Hold(trap.caught, lambda: self.process, trap.cut)


@dataclass(frozen=True)
class AtProvider:
    """A call to the provider that is seen, done, or answered."""

    when: str
    alone: bool = False

    @property
    def name(self) -> str:
        return f"when the provider had {self.when}"

    @contextmanager
    def hold(self, bench: Bench, wish: Wish) -> Iterator[Hold]:
        gate = bench.provider.gate()
        turn = {
            SEEN: Turn(seen=gate, lost=True),
            SEEN_THEN_DONE: Turn(seen=gate),
            DONE: Turn(done=gate, cuts=True),
            ANSWERED: Turn(done=gate),
        }[self.when]
        if isinstance(wish, Refund):
            source = wish.order.source
            bench.provider.script_refunds(source, turn)
        else:
            source = wish.source
            bench.provider.script(source, turn)

        def answer() -> None:
            gate.open()
            sent = bench.provider.calls_about(source)[-1]
            bench.arena.wait_for(lambda: sent.answer is not None, within=SENT_WITHIN_S)

        try:
            brink = answer if self.when == ANSWERED else (lambda: None)
            yield Hold(gate.reached, lambda: WEB, gate.open, brink)
        finally:
            gate.open()


SEEN = "seen the request, and done nothing"
SEEN_THEN_DONE = "seen the request, and did the work later"
DONE = "done the work, and not answered"
ANSWERED = "answered"
AT_PROVIDER = tuple(map(AtProvider, (SEEN, SEEN_THEN_DONE, DONE, ANSWERED)))


@dataclass(frozen=True)
class AtRecord:
    """The record of an event on its way to Kafka, or acknowledged with the answer on its way back."""

    way: Way
    alone: bool = True

    @property
    def name(self) -> str:
        if self.way is Way.THERE:
            return "while its record was on the way to Kafka"
        return "when Kafka had its record, before that was acknowledged"

    @contextmanager
    def hold(self, bench: Bench, _: Wish) -> Iterator[Hold]:
        with ExitStack() as stack:
            traps = {
                process: stack.enter_context(
                    bench.arena.link(process, "kafka").trap(publishes_to(bench), way=self.way)
                )
                for process in bench.processes
            }
            first = FirstOf([trap.caught for trap in traps.values()])

            def cut() -> None:
                for trap in traps.values():
                    trap.cut()

            yield Hold(first, lambda: next(name for name, trap in traps.items() if trap.caught.is_set()), cut)


class FirstOf(Event):
    """Set as soon as one of the others is."""

    def __init__(self, others: Sequence[Event]) -> None:
        super().__init__()
        self._others = others

    def is_set(self) -> bool:
        return any(other.is_set() for other in self._others)


def publishes_to(bench: Bench) -> Callable[[Message], bool]:
    """Whether a request brings records to the topic of events."""
    return lambda message: message.api == "Produce" and bench.topic.name in message.topics


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
        self.run(self._statements_of(survey(self.bench, self.make), WEB, way))

    def while_publishing(self) -> None:
        """The record, and all that others than web say to Postgres."""
        found = survey(self.bench, self.make)
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
