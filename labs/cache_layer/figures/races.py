"""The races of BRIEF.md, each carried out on a table and a cache of one product, in the order of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """What a replica does for a request: "look", "select", "set", "commit", "del" or "join".

    A select and a join last: they see what there is at `at` and have it at `until`. What is joined is
    the load of the first request.
    """

    at: float
    does: str
    until: float = 0.0


@dataclass(frozen=True)
class Request:
    """One request as its client sees it, and the steps that it takes inside."""

    where: str
    verb: str
    sent: float
    answered: float
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Outcome:
    """What came of a race. Versions are numbers; None is "nothing cached".

    labels     (request, step) -> what the step did, in a word or two
    answers    request -> the version in its answer
    stale      the GETs that show less than was acknowledged before they were sent
    table      (since when, version)
    cache      (since when, version or None)
    """

    labels: dict[tuple[int, int], str]
    answers: dict[int, int]
    stale: frozenset[int]
    table: tuple[tuple[float, int], ...]
    cache: tuple[tuple[float, int | None], ...]


def play(requests: Sequence[Request], *, cached: bool) -> Outcome:
    """Carry out all steps in time; version 1 is in the table, and in the cache if it is `cached`."""
    table: list[tuple[float, int]] = [(0, 1)]
    cache: list[tuple[float, int | None]] = [(0, 1 if cached else None)]
    hands: dict[int, int] = {}
    labels: dict[tuple[int, int], str] = {}
    order = sorted((step.at, r, s) for r, one in enumerate(requests) for s, step in enumerate(one.steps))
    for at, r, s in order:
        does, held = requests[r].steps[s].does, cache[-1][1]
        if does == "commit":
            table.append((at, table[-1][1] + 1))
        if does in ("select", "commit"):
            hands[r] = table[-1][1]
        elif does == "look" and held is not None:
            hands[r] = held
        elif does == "join":
            hands[r] = hands[0]
        elif does in ("set", "del"):
            cache.append((at, hands[r] if does == "set" else None))
        labels[r, s] = _label(does, hands.get(r))
    return Outcome(labels, hands, _stale(requests, hands), tuple(table), tuple(cache))


def _label(does: str, version: int | None) -> str:
    if does == "look":
        return "miss" if version is None else f"hit v{version}"
    return {"del": "DEL", "join": "joins the load"}.get(does, f"{does.upper()} v{version}")


def _stale(requests: Sequence[Request], answers: dict[int, int]) -> frozenset[int]:
    return frozenset(
        r
        for r, one in enumerate(requests)
        if one.verb == "GET" and answers[r] < promised(requests, answers, one.sent)
    )


def promised(requests: Sequence[Request], answers: dict[int, int], at: float) -> int:
    """The newest version that a client has been told of by then."""
    told = [answers[r] for r, one in enumerate(requests) if one.verb == "PUT" and one.answered <= at]
    return max(told, default=0)


def _steps(*steps: tuple[float, str] | tuple[float, str, float]) -> tuple[Step, ...]:
    return tuple(Step(*step) for step in steps)


def _later(sent: float) -> Request:
    """A reader who comes when all is over."""
    return Request("web-3", "GET", sent, sent + 1.6, _steps((sent + 0.8, "look")))


LATE_FILL = (
    Request("web-1", "GET", 0.3, 9.6, _steps((0.9, "look"), (2.0, "select", 3.4), (9.0, "set"))),
    Request("web-2", "PUT", 3.6, 7.6, _steps((5.0, "commit"), (6.8, "del"))),
    _later(10.6),
)
EARLY_DROP = (
    Request("web-2", "PUT", 0.3, 8.6, _steps((1.2, "del"), (7.5, "commit"))),
    Request("web-1", "GET", 2.0, 6.8, _steps((2.6, "look"), (3.6, "select", 5.0), (6.2, "set"))),
    _later(10.6),
)
IN_ORDER = (
    Request("web-1", "PUT", 0.3, 4.4, _steps((1.4, "commit"), (3.6, "set"))),
    Request("web-2", "PUT", 2.6, 7.6, _steps((5.4, "commit"), (7.0, "set"))),
    _later(10.6),
)
OUT_OF_ORDER = (
    Request("web-1", "PUT", 0.3, 9.2, _steps((1.4, "commit"), (8.6, "set"))),
    Request("web-2", "PUT", 2.6, 6.4, _steps((3.8, "commit"), (5.6, "set"))),
    _later(10.6),
)
JOINED = (
    Request("web-1", "GET", 0.3, 11.0, _steps((0.9, "look"), (2.0, "select", 10.4))),
    Request("web-2", "PUT", 2.4, 6.0, _steps((3.6, "commit"), (5.3, "del"))),
    Request("web-1", "GET", 7.2, 11.0, _steps((7.8, "look"), (8.6, "join", 10.4))),
)


ARRIVALS = (0.0, 0.5, 0.9, 1.6, 2.4, 3.1)
LOAD = 4.0


def loads(arrivals: Sequence[float], *, shared: bool) -> list[tuple[float, float, bool]]:
    """(sent, answered, whether it asks Postgres) of GETs of one cold product, on one replica."""
    free_at = 0.0
    taken = []
    for n, at in enumerate(arrivals):
        asks = n == 0 or not shared or at >= free_at
        if asks:
            free_at = at + LOAD
        taken.append((at, free_at if shared else at + LOAD, asks))
    return taken
