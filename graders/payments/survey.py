"""A payment or a refund undisturbed, to learn at which boundaries its processes can be stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit import Statement

from .boundaries import Boundary, Reader, bare
from .orders import Wish

if TYPE_CHECKING:
    from .bench import Bench

# Longer than the pauses of those that look for work now and then, as a rule; what is missed is only one
# boundary more, which may not be met again.
QUIET_S = 1.2
SETTLES_S = 0.3
MOST_LOOKS = 6
ANNOUNCED_WITHIN_S = 12.0

Idle = Mapping[str, frozenset[str]]
# Boundaries in order, each with whether it came after the answer.
Read = tuple[tuple[Boundary, bool], ...]


@dataclass(frozen=True)
class Found:
    """What one process says to Postgres; `idle` are texts that it says while nobody pays."""

    idle: frozenset[str]
    boundaries: Read


@dataclass(frozen=True)
class Survey:
    """What was found of each process."""

    found: Mapping[str, Found]

    def of(self, process: str) -> Found:
        return self.found.get(process, Found(frozenset(), ()))


def idle_texts(bench: Bench) -> Idle:
    """What each process says while nobody pays."""
    before = _lengths(bench)
    bench.arena.sleep(QUIET_S)
    return {name: frozenset(map(bare, heard)) for name, heard in _since(bench, before).items()}


def surveyed(bench: Bench, make: Callable[[], Wish]) -> Survey:
    """What was found of this kind of wish, now or by an earlier check on the same processes."""
    known = bench.stock.surveys
    if make.__name__ not in known:
        known[make.__name__] = survey(bench, make)
    return known[make.__name__]


def survey(bench: Bench, make: Callable[[], Wish]) -> Survey:
    """Watch one and then another at web-1: only what both do is sure to be done again."""
    idle = idle_texts(bench)
    first, second = (_undisturbed(bench, make(), idle) for _ in range(2))
    return Survey(
        {
            name: Found(idle[name], tuple(one for one in second[name] if one[0] in dict(first[name])))
            for name in idle
        }
    )


def _undisturbed(bench: Bench, wish: Wish, idle: Idle) -> dict[str, Read]:
    """What each process says, from the request until all is quiet again."""
    before = _lengths(bench)
    answer = bench.post(wish, "web-1")
    bench.has_status(answer, 201, reading="The answers", about=wish)
    bench.expect_announced(wish, within=ANNOUNCED_WITHIN_S)
    heard: dict[str, Read] = {}
    for _ in range(MOST_LOOKS):
        known, heard = heard, _read(bench, before, idle, answer.received)
        if heard == known:
            break
        bench.arena.sleep(SETTLES_S)
    return heard


def _read(bench: Bench, before: Mapping[str, int], idle: Idle, answered_at: float) -> dict[str, Read]:
    heard = _since(bench, before)
    return {name: _boundaries(said, idle[name], answered_at) for name, said in heard.items()}


def _boundaries(statements: Sequence[Statement], idle: frozenset[str], answered_at: float) -> Read:
    reader = Reader(idle)
    read = [(reader.boundary_of(statement), statement.at > answered_at) for statement in statements]
    return tuple((boundary, late) for boundary, late in read if boundary is not None)


def _statements(bench: Bench, process: str) -> list[Statement]:
    return bench.arena.link(process, "postgres").statements


def _lengths(bench: Bench) -> dict[str, int]:
    return {name: len(_statements(bench, name)) for name in bench.processes}


def _since(bench: Bench, before: Mapping[str, int]) -> dict[str, list[Statement]]:
    return {name: _statements(bench, name)[length:] for name, length in before.items()}
