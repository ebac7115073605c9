"""What requests ask of Postgres and Redis, counted at the links."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit import EvidenceRow, Exchange, Request, Statement, Way

from .gauge import calm_until
from .races import about_products

if TYPE_CHECKING:
    from .bench import Bench

LONGEST_SHOWN = 70
SAMPLING_S = 5.0


@dataclass(frozen=True)
class Cost:
    """One request's answer, its statements about products and its round trips to Redis."""

    answer: Exchange
    statements: int
    round_trips: int


@dataclass(frozen=True)
class Costs:
    """What several requests cost together."""

    of: Sequence[Cost]

    @property
    def statements(self) -> int:
        return sum(cost.statements for cost in self.of)

    @property
    def round_trips(self) -> int:
        return sum(cost.round_trips for cost in self.of)

    @property
    def certain(self) -> bool:
        """No service was starved meanwhile, and could have given something up."""
        return not any(cost.answer.starved for cost in self.of)


@dataclass(frozen=True)
class Loads:
    """What many requests at once have asked of Postgres.

    of        process -> its statements about products
    released  when their answers were let through
    calm      whether nothing else was late until then, as on a busy machine
    """

    answers: list[Exchange]
    of: dict[str, list[Statement]]
    released: float
    calm: bool


def cost_of(bench: Bench, request: Request) -> Cost:
    """Ask, alone on its replica, and count. For arenas in which nobody else asks meanwhile."""
    redis, postgres = (bench.arena.link(request.process, kind) for kind in ("redis", "postgres"))
    # Late replies keep the parts of one pipeline together, however slowly they are written.
    with bench.arena.faults("redis").slow(0.02):
        flights, before = redis.flights, len(postgres.statements)
        answer = bench.ask(request)
        round_trips = redis.flights - flights
        asked = [one for one in postgres.statements[before:] if about_products(one)]
    return Cost(answer, len(asked), round_trips)


def at_best(
    bench: Bench, sample: Callable[[], Sequence[Cost]], *, statements: int, round_trips: int
) -> Costs:
    """Sample until the cost is within bounds, for 5 s at least; the last sample.

    What else goes on in a service now and then is nobody's cost, and a replica that has lost Redis
    uses it again within 5 s.
    """
    begin = bench.arena.clock()
    while True:
        costs = Costs(sample())
        if costs.statements <= statements and costs.round_trips <= round_trips:
            return costs
        now = bench.arena.clock()
        if now - begin - bench.arena.late_between(begin, now) > SAMPLING_S:
            return costs
        bench.arena.sleep(0.25)


def loads_of_all(
    bench: Bench, requests: Sequence[Request], *, hold_s: float, enough: int | None = None
) -> Loads:
    """Ask all at once, with every answer of Postgres held for `hold_s`, or until `enough` are held."""
    processes = sorted({request.process for request in requests})
    links = {process: bench.arena.link(process, "postgres") for process in processes}
    before = {process: len(link.statements) for process, link in links.items()}
    with ExitStack() as stack:
        traps = [
            stack.enter_context(link.trap(about_products, way=Way.BACK, most=len(requests)))
            for link in links.values()
        ]
        waiting = [bench.begin(request) for request in requests]
        calm = calm_until(
            bench,
            processes[0],
            lambda: enough is not None and sum(trap.count for trap in traps) >= enough,
            within=hold_s,
        )
        released = bench.arena.clock()
    answers = [bench.came(each.result()) for each in waiting]
    loads = {
        process: list(filter(about_products, link.statements[before[process] :]))
        for process, link in links.items()
    }
    return Loads(answers, loads, released, calm)


def statements_between(bench: Bench, begin: float, end: float) -> list[EvidenceRow]:
    """What the replicas asked Postgres about products, as rows."""
    return [
        EvidenceRow(round(one.at, 3), f"{process} → postgres", _cut(one.text))
        for (process, kind), link in bench.arena.links.items()
        if kind == "postgres"
        for one in link.statements
        if begin <= one.at <= end and (about_products(one) or one.commits)
    ]


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= LONGEST_SHOWN else f"{flat[:LONGEST_SHOWN]}…"
