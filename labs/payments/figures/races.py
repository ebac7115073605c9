"""The races of BRIEF.md, each carried out on a provider and a table, in the order of time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """What a replica does for a request.

    "look", "insert", "take" (a key), "charge", "book" (a payment), "finish" (book it, if the key is still
    held), "read", "write", "reserve" (what is left), "refund". What the provider does lasts until `until`,
    and is done in the middle. A charge is asked for with `key`.
    """

    at: float
    does: str
    until: float = 0.0
    key: str = ""


@dataclass(frozen=True)
class Request:
    """One request as its client sees it, and the steps that it takes inside.

    A killed one ends without an answer.
    """

    where: str
    verb: str
    sent: float
    answered: float
    steps: tuple[Step, ...]
    killed: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a race.

    labels     (request, step) -> what the step did, in a word or two
    answers    request -> the status of its answer; none if it was killed
    provider   (since when, number): charges, or cents left of the charge
    table      (since when, number): payments, or cents left by the table
    killed     whether somebody was
    """

    labels: dict[tuple[int, int], str]
    answers: dict[int, int]
    provider: tuple[tuple[float, int], ...]
    table: tuple[tuple[float, int], ...]
    killed: bool


@dataclass
class World:
    """The provider, and the table with one key: absent, "in progress" or "done".

    `owner` is the request that took it last. `provider` and `table` count charges and payments; when
    refunds race, the cents that are left.
    """

    provider: int
    table: int
    key: str = ""
    owner: int = -1
    asked: set[str] = field(default_factory=set)
    read: dict[int, int] = field(default_factory=dict)


PAID, REFUND = 100, 60


def play(requests: Sequence[Request], *, paid: int = 0) -> Outcome:
    """Carry out all steps in time, on a payment of `paid` cents or on none yet."""
    world = World(provider=paid, table=paid)
    labels: dict[tuple[int, int], str] = {}
    answers = {r: 201 for r, one in enumerate(requests) if not one.killed}
    provider, table = [(0.0, paid)], [(0.0, paid)]
    for at, r, s in _in_time(requests):
        step = requests[r].steps[s]
        labels[r, s] = _STEPS[step.does](world, r, step)
        if labels[r, s] in _CONFLICTS:
            answers[r] = 409
        provider.append((at, world.provider))
        table.append((at, world.table))
    killed = any(one.killed for one in requests)
    return Outcome(labels, answers, _changes(provider), _changes(table), killed)


def done_at(step: Step) -> float:
    """When a step takes effect."""
    return (step.at + step.until) / 2 if step.until else step.at


def _in_time(requests: Sequence[Request]) -> list[tuple[float, int, int]]:
    return sorted((done_at(step), r, s) for r, one in enumerate(requests) for s, step in enumerate(one.steps))


def _changes(history: Iterable[tuple[float, int]]) -> tuple[tuple[float, int], ...]:
    kept: list[tuple[float, int]] = []
    for at, number in history:
        if not kept or kept[-1][1] != number:
            kept.append((at, number))
    return tuple(kept)


def _look(world: World, _r: int, _step: Step) -> str:
    return world.key or "no key"


def _insert(world: World, r: int, _step: Step) -> str:
    if world.key:
        return "key is there"
    world.key, world.owner = "in progress", r
    return "INSERT key"


def _take(world: World, r: int, _step: Step) -> str:
    """Whoever finds a key in progress whose owner seems to be gone goes on with it."""
    world.owner = r
    return "takes over"


def _charge(world: World, _r: int, step: Step) -> str:
    known = step.key in world.asked
    world.asked.add(step.key)
    world.provider += not known
    return f"{step.key}: answered again" if known else f"{step.key}: charged"


def _book(world: World, _r: int, _step: Step) -> str:
    world.key = "done"
    world.table += 1
    return "COMMIT"


def _finish(world: World, r: int, step: Step) -> str:
    return _book(world, r, step) if world.owner == r else "not mine any more"


def _read(world: World, r: int, _step: Step) -> str:
    world.read[r] = world.table
    return f"{world.table} left"


def _write(world: World, r: int, _step: Step) -> str:
    world.table = world.read[r] - REFUND
    return f"writes {world.table}"


def _reserve(world: World, _r: int, _step: Step) -> str:
    if world.table < REFUND:
        return "too little left"
    world.table -= REFUND
    return f"reserves {REFUND}"


def _refund(world: World, _r: int, _step: Step) -> str:
    world.provider -= REFUND
    return f"gives back {REFUND}"


_STEPS = {
    "look": _look,
    "insert": _insert,
    "take": _take,
    "charge": _charge,
    "book": _book,
    "finish": _finish,
    "read": _read,
    "write": _write,
    "reserve": _reserve,
    "refund": _refund,
}
_CONFLICTS = {"key is there", "too little left"}


def _post(where: str, sent: float, answered: float, *steps: Step, verb: str = "POST") -> Request:
    return Request(where, verb, sent, answered, steps)


def _crash(second: str) -> tuple[Request, ...]:
    """Killed between charge and booking; the retry asks the provider with `second`."""
    return (
        Request("web-1", "POST", 0.3, 5.6, (Step(0.9, "insert"), Step(2.0, "charge", 4.6, "A")), killed=True),
        _post("web-2", 6.5, 12.0, Step(7.1, "take"), Step(8.2, "charge", 10.6, second), Step(11.4, "book")),
    )


def _overtaken(ends: str, *, answered: float) -> tuple[Request, ...]:
    """A lock that runs out while its owner waits for the provider; each request ends with `ends`."""
    return (
        _post("web-1", 0.3, answered, Step(1.0, "insert"), Step(2.2, "charge", 8.2, "A"), Step(9.4, ends)),
        _post("web-2", 3.6, 12.0, Step(4.4, "take"), Step(5.4, "charge", 8.6, "A"), Step(11.2, ends)),
    )


FRESH_KEY = _crash("B")
KEPT_KEY = _crash("A")
BOTH_BOOK = _overtaken("book", answered=10.2)
OWNER_BOOKS = _overtaken("finish", answered=12.6)
LOOKED_UP = (
    _post("web-1", 0.3, 7.2, Step(0.9, "look"), Step(2.2, "charge", 5.2, "A"), Step(6.6, "book")),
    _post("web-2", 0.8, 9.0, Step(1.5, "look"), Step(3.4, "charge", 6.4, "B"), Step(8.3, "book")),
)
INSERTED = (
    _post("web-1", 0.3, 7.2, Step(1.0, "insert"), Step(2.2, "charge", 5.2, "A"), Step(6.6, "book")),
    _post("web-2", 0.8, 2.6, Step(1.9, "insert")),
    _post("web-2", 9.0, 11.0, Step(9.9, "look")),
)
READ_THEN_WRITTEN = (
    _post("web-1", 0.3, 7.4, Step(1.0, "read"), Step(2.4, "refund", 5.2), Step(6.6, "write"), verb="refund"),
    _post("web-2", 0.8, 9.2, Step(1.9, "read"), Step(4.0, "refund", 6.8), Step(8.4, "write"), verb="refund"),
)
RESERVED = (
    _post("web-1", 0.3, 6.2, Step(1.1, "reserve"), Step(2.6, "refund", 5.6), verb="refund"),
    _post("web-2", 0.8, 3.4, Step(2.2, "reserve"), verb="refund"),
)


@dataclass(frozen=True)
class Written:
    """A transaction that writes an event: when it begins, draws its id, and has committed."""

    id: int
    begins: float
    drawn: float
    committed: float


WRITERS = (Written(7, 0.5, 1.2, 8.2), Written(8, 1.8, 2.4, 4.0), Written(9, 4.6, 5.2, 6.6))
POLLS = (3.0, 5.0, 7.2, 9.2, 11.2)


def relay(
    writers: Sequence[Written], polls: Sequence[float], *, marks: bool
) -> list[tuple[float, list[int]]]:
    """What a relay publishes at each poll: rows that it has not marked, or those after the last id."""
    sent: list[int] = []
    taken = []
    for at in polls:
        visible = sorted(one.id for one in writers if one.committed <= at)
        new = [n for n in visible if (n not in sent if marks else n > max(sent, default=0))]
        sent += new
        taken.append((at, new))
    return taken
