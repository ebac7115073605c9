"""The points at which a payment's process can be killed: each brings a payment there and holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Protocol

from labkit import Message, Trap, Way

from .boundaries import Boundary, reaches
from .orders import Refund, Wish
from .provider import Turn

if TYPE_CHECKING:
    from .bench import Bench

WEB = "web-1"
SENT_WITHIN_S = 0.5


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
        bench.script(wish, turn)
        source = wish.order.source if isinstance(wish, Refund) else wish.source

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
        with records_held(bench, self.way) as traps:
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


@contextmanager
def records_held(bench: Bench, way: Way) -> Iterator[dict[str, Trap[Message]]]:
    """Process -> what holds the first records that it brings to the topic of events, or their answer."""

    def publishes(message: Message) -> bool:
        return message.api == "Produce" and bench.topic.name in message.topics

    with ExitStack() as stack:
        yield {
            process: stack.enter_context(bench.arena.link(process, "kafka").trap(publishes, way=way))
            for process in bench.processes
        }
