"""The stories of BRIEF.md, each carried out on one partition, in the order of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

SPAN = 14.0  # how much time is shown, in units that mean nothing


@dataclass(frozen=True)
class Step:
    """What a worker does: "take", "deliver", "commit" or "commit first".

    take           begins at the committed offset, with as many records as there are
    deliver        sends the next record of those in its hands; it lasts until `until`
    commit         says that all that it has delivered so far is done
    commit first   says so of the next record as well
    """

    at: float
    does: str
    until: float = 0.0


@dataclass(frozen=True)
class Worker:
    """A worker and what it means to do.

    ends     when it is killed, or falls silent for good
    frozen   from when till when it does nothing and does not notice
    expires  when Kafka, having heard nothing, gives its partition away
    """

    name: str
    steps: tuple[Step, ...]
    ends: float = SPAN
    frozen: tuple[float, float] | None = None
    expires: float = SPAN


@dataclass(frozen=True)
class Delivery:
    """One delivery as the sink saw it; `until` is when the worker heard, or would have heard, the answer."""

    worker: str
    offset: int
    at: float
    until: float
    cut: bool


@dataclass
class Outcome:
    """What came of a story.

    labels      (worker, step) -> what the step did, in a word or two
    deliveries  in the order in which the sink saw them
    committed   (since when, offset)
    """

    labels: dict[tuple[int, int], str] = field(default_factory=dict)
    deliveries: list[Delivery] = field(default_factory=list)
    committed: list[tuple[float, int]] = field(default_factory=list)

    @property
    def lost(self) -> set[int]:
        """What is committed and was never taken by the sink."""
        delivered = {one.offset for one in self.deliveries if not one.cut}
        begin, end = self.committed[0][1], self.committed[-1][1]
        return set(range(begin, end)) - delivered

    @property
    def repeated(self) -> dict[int, int]:
        """Offset -> how often the sink saw it, if more than once."""
        seen = Counter(one.offset for one in self.deliveries)
        return {offset: count for offset, count in seen.items() if count > 1}


def play(workers: Sequence[Worker], *, first: int, records: int) -> Outcome:
    """Carry out all steps in time, on a partition that is committed up to `first`."""
    outcome = Outcome(committed=[(0.0, first)])
    hands: dict[int, list[int]] = {}
    done: dict[int, int] = {}
    order = sorted((step.at, w, s) for w, worker in enumerate(workers) for s, step in enumerate(worker.steps))
    for at, w, s in order:
        worker, step, now = workers[w], workers[w].steps[s], outcome.committed[-1][1]
        if at >= worker.ends:
            continue
        if step.does == "take":
            hands[w], done[w] = list(range(now, first + records)), now
        elif step.does == "deliver":
            offset = hands[w].pop(0)
            # What a kill cuts off, the sink has not answered.
            cut = step.until > worker.ends
            outcome.deliveries.append(Delivery(worker.name, offset, at, min(step.until, worker.ends), cut))
            done[w] = max(done[w], offset + 1)
        else:
            offset = done[w] + (step.does == "commit first")
            refused = at >= worker.expires
            if not refused:
                outcome.committed.append((at, offset))
        outcome.labels[w, s] = _label(step.does, outcome, hands[w], refused=at >= worker.expires)
    return outcome


def _label(does: str, outcome: Outcome, hand: Sequence[int], *, refused: bool) -> str:
    if does == "take":
        return f"from {hand[0]}"
    if does == "deliver":
        return f"POST {outcome.deliveries[-1].offset}"
    return "commit: refused" if refused else f"commit {outcome.committed[-1][1]}"


def _steps(*steps: tuple[float, str] | tuple[float, str, float]) -> tuple[Step, ...]:
    return tuple(Step(*step) for step in steps)


COMMIT_FIRST = (
    Worker(
        "worker-1",
        _steps((0.6, "take"), (2.0, "commit first"), (3.5, "deliver", 6.6)),
        ends=5.0,
    ),
    Worker("worker-2", _steps((8.2, "take"), (9.6, "deliver", 11.4), (12.4, "commit"))),
)
WORK_FIRST = (
    Worker(
        "worker-1",
        _steps((0.6, "take"), (1.9, "deliver", 3.9), (5.6, "commit")),
        ends=5.0,
    ),
    Worker("worker-2", _steps((8.2, "take"), (9.6, "deliver", 11.4), (12.4, "commit"))),
)
ZOMBIE = (
    Worker(
        "worker-1",
        _steps((0.5, "take"), (1.8, "deliver", 9.9), (10.5, "deliver", 12.0), (12.8, "commit")),
        frozen=(2.6, 9.6),
        expires=4.4,
    ),
    Worker(
        "worker-2",
        _steps((4.6, "take"), (5.7, "deliver", 6.5), (7.0, "commit"), (8.2, "deliver", 9.1), (9.5, "commit")),
    ),
)


@dataclass(frozen=True)
class Run:
    """One job of a partition: from when till when it ran."""

    offset: int
    begun: float
    ended: float


# How long each delivery takes; the first is the slow one.
TOOK = (7.6, 1.6, 2.2, 3.0, 1.4, 2.0)
FIRST = 10
SLOTS = 3


def side_by_side(took: Sequence[float], *, slots: int, begin: float = 0.8) -> list[Run]:
    """Jobs of different keys, each begun in its turn as soon as a slot is free."""
    free = [begin] * slots
    runs = []
    for number, lasts in enumerate(took):
        slot = free.index(min(free))
        begun = free[slot]
        free[slot] = begun + lasts
        runs.append(Run(FIRST + number, begun, begun + lasts))
    return runs


def watermark(runs: Sequence[Run]) -> list[tuple[float, int]]:
    """(since when, offset): all jobs before it have ended."""
    return _commits(
        runs, lambda ended: next(o for o in range(FIRST, FIRST + len(runs) + 1) if o not in ended)
    )


def latest_finished(runs: Sequence[Run]) -> list[tuple[float, int]]:
    """(since when, offset): one more than the highest that has ended. This is the mistake."""
    return _commits(runs, lambda ended: max(ended, default=FIRST - 1) + 1)


def _commits(runs: Sequence[Run], position: Callable[[set[int]], int]) -> list[tuple[float, int]]:
    commits = [(0.0, FIRST)]
    for at in sorted(run.ended for run in runs):
        offset = position({run.offset for run in runs if run.ended <= at})
        if offset != commits[-1][1]:
            commits.append((at, offset))
    return commits


@dataclass(frozen=True)
class Attempt:
    """A delivery of a key's job in the figure of the waits."""

    key: str
    begun: float
    ended: float
    failed: bool


# Of one partition, in this order: the sink refuses key a twice.
JOBS = ("a", "b", "c", "b", "c")
FAILURES = {"a": 2}
DELIVERY, WAIT = 0.9, 2.0


def waiting(*, aside: bool) -> list[Attempt]:
    """Deliveries of one worker with one slot; it waits for the next attempt aside, or in its loop."""
    now, attempts = 0.4, []
    ready = [(0.0, number, 1) for number in range(len(JOBS))]
    while ready:
        due = [one for one in ready if one[0] <= now] if aside else ready[:1]
        if not due:
            now = min(at for at, _, _ in ready)
            continue
        at, number, attempt = due[0] if not aside else min(due, key=lambda one: (one[0], one[1]))
        ready.remove((at, number, attempt))
        now = max(now, at)
        failed = attempt <= FAILURES.get(JOBS[number], 0)
        attempts.append(Attempt(JOBS[number], now, now + DELIVERY, failed))
        now += DELIVERY
        if failed:
            ready.insert(0, (now + WAIT * 2 ** (attempt - 1), number, attempt + 1))
    return attempts
