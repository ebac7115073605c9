"""The verbs of the queue worker's checks."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from labkit import (
    Arena,
    EvidenceRow,
    Exchange,
    Inconclusive,
    Request,
    Setup,
    is_problem,
    rows_of,
    shortened,
)

from . import asking, crashes, group, laws, outages, outcomes, stops
from .jobs import Job
from .sink import Delivered, Sink, rows_of_deliveries
from .stock import Stock, stocked
from .topics import PARTITIONS, Record

TOO_BUSY = "the machine was too busy: the service may have given up waiting for Kafka or Postgres"
_STANDS_STILL, _LONGEST = 3, 8


def _setup(
    name: str, *, webs: int = 1, workers: int = 1, n: int, b: int, c: int, session: int, **more: Any
) -> Setup:
    # A Kafka that others use as well keeps its topics: those of this grading are new ones.
    mark = f"{name}-{secrets.token_hex(3)}"
    settings = {
        "JOBS_TOPIC": f"jobs-{mark}",
        "JOBS_DLQ_TOPIC": f"jobs-{mark}-dead",
        "JOBS_GROUP": f"workers-{mark}",
        "MAX_ATTEMPTS": str(n),
        "BACKOFF_MS": str(b),
        "WORKER_CONCURRENCY": str(c),
        "SESSION_TIMEOUT_MS": str(session),
    }
    return Setup(
        replicas={"web": webs, "worker": workers},
        settings=settings,
        prepare=lambda services, chance: stocked(services, chance, settings),
        outsiders={"SINK_URL": Sink},
        **more,
    )


ARENAS = {
    "steady": _setup("steady", webs=2, workers=2, n=4, b=200, c=8, session=3000, width=5),
    "alone": _setup("alone", n=3, b=300, c=3, session=2000, exclusive=True, breaks=["postgres"]),
    "stops": _setup("stops", webs=2, workers=1, n=3, b=1500, c=4, session=2000, exclusive=True),
    "killed": _setup("killed", workers=2, n=4, b=100, c=4, session=2000, exclusive=True),
    "frozen": _setup("frozen", workers=2, n=4, b=100, c=4, session=2000, exclusive=True),
    "churn": _setup("churn", workers=3, n=4, b=60, c=4, session=2000, exclusive=True),
    "outage": _setup(
        "outage", webs=2, workers=1, n=3, b=60, c=4, session=2000, exclusive=True, breaks=["kafka"]
    ),
}


class Bench:
    """One check's view of an arena: keys that nobody else uses, the sink, Kafka from outside."""

    def __init__(self, arena: Arena, chance: random.Random) -> None:
        settings = arena.setup.settings
        self.arena = arena
        self.chance = chance
        self.webs = [name for name in arena.setup.processes if name.startswith("web")]
        self.workers = [name for name in arena.setup.processes if name.startswith("worker")]
        self.attempts = int(settings["MAX_ATTEMPTS"])
        self.backoff_s = int(settings["BACKOFF_MS"]) / 1000
        self.slots = int(settings["WORKER_CONCURRENCY"])
        self.session_s = int(settings["SESSION_TIMEOUT_MS"]) / 1000
        self.sink: Sink = arena.outsiders["SINK_URL"]  # type: ignore[assignment]
        self.stock: Stock = arena.prepared
        self.topics = self.stock.topics
        self.topics.watch(arena.clock)
        self.begun = arena.clock()
        self.missed = False
        self._seen: list[Exchange] = []

    # Verbs that have files of their own.
    is_problem = staticmethod(is_problem)
    request = staticmethod(asking.request)
    ask = asking.ask
    post = asking.post
    queue = asking.queue
    queue_and_answer = asking.queue_and_answer
    taken = asking.taken
    get = asking.get
    has_status = asking.has_status
    refused = asking.refused
    shows = asking.shows
    deliveries = outcomes.deliveries
    succeed = outcomes.succeed
    unsuccessful = outcomes.unsuccessful
    dead_letters = outcomes.dead_letters
    dead_letter = outcomes.dead_letter
    ready = group.ready
    ends_in_order = stops.ends_in_order
    group_is_stuck = group.group_is_stuck
    group_has_not_settled = group.group_has_not_settled
    in_order = laws.in_order
    once = laws.once
    commits_are_true = laws.commits_are_true
    is_committed = laws.is_committed
    offsets_never_go_back = laws.offsets_never_go_back
    commits_reach_the_ends = laws.commits_reach_the_ends
    deliver_held = crashes.deliver_held
    fill_slots = crashes.fill_slots
    cut_off = crashes.cut_off
    commits_held = crashes.commits_held
    worker_of = crashes.worker_of
    storm = crashes.storm
    posts_meanwhile = outages.posts_meanwhile
    dead_letters_held = outages.dead_letters_held
    dead_letters_cut = outages.dead_letters_cut
    terminate_during_a_post = stops.terminate_during_a_post
    terminate_during_deliveries = stops.terminate_during_deliveries
    restart_workers = stops.restart_workers

    def fresh_key(self, word: str = "key") -> str:
        """A key that nobody has used."""
        return f"{word}-{self.chance.getrandbits(48):012x}"

    def new_job(self, key: str | None = None, payload: Mapping[str, Any] | None = None) -> Job:
        """A job of the grader's own, not written yet; its id is no UUID."""
        number = f"{self.chance.getrandbits(40):010x}"
        return Job(f"job:{number}", key or self.fresh_key(), payload or {"number": number})

    def write(self, *jobs: Job, partition: int | None = None) -> list[Job]:
        """Write records of jobs, in this order, to one partition or to one for each key."""
        places = [self.partition_of(job.key) if partition is None else partition for job in jobs]
        records = self.topics.write(
            (place, job.key.encode(), job.value) for place, job in zip(places, jobs, strict=True)
        )
        return [replace(job, record=record) for job, record in zip(jobs, records, strict=True)]

    @staticmethod
    def partition_of(key: str) -> int:
        """Some partition, the same for the same key."""
        return sum(key.encode()) % PARTITIONS

    def write_raw(self, partition: int, key: bytes | None, value: bytes | None) -> Record:
        """Write a record of any kind."""
        (record,) = self.topics.write([(partition, key, value)])
        return record

    def begin(self, request: Request) -> Future[Exchange]:
        return self.arena.begin(request)

    def seen(self, exchange: Exchange) -> Exchange:
        """Remember an exchange, answered or not, for the story that a failure tells."""
        self._seen.append(exchange)
        return exchange

    def wait(self, *conditions: Callable[[], bool], within: float, every: float = 0.01) -> bool:
        """Wait until one holds, so many seconds; on a starved machine, until all has long stood still."""
        begin = moved = self.arena.clock()
        seen = -1
        while not any(holds() for holds in conditions):
            now = self.arena.clock()
            if self.sink.progress != seen:
                seen, moved = self.sink.progress, now
            if now - begin > within and self._stands_still(begin, moved, now, within):
                return False
            self.arena.sleep(every)
        return True

    def _stands_still(self, begin: float, moved: float, now: float, within: float) -> bool:
        """What a service does not do in that time it never will. What has been lost makes no progress."""
        if not self.arena.starved_between(begin, now):
            return True
        return now - moved > _STANDS_STILL * within or now - begin > _LONGEST * within

    def busy(self) -> bool:
        """Whether the machine was starved since the check began."""
        return self.arena.starved_between(self.begun, self.arena.clock())

    def surely_heard(self, *held: Delivered) -> None:
        """Raises Inconclusive where a held delivery may have been given up before it was answered."""
        if not all(each.surely_heard for each in held):
            raise Inconclusive("the machine was too busy: a delivery was held for too long")

    def tried(self, job: Job) -> int:
        """How many deliveries of a job the sink has seen."""
        return len(self.sink.of(job.id))

    def records_of(self, key: str) -> list[Record]:
        """What lies on the topic under a key, in order."""
        return [record for record in self.topics.jobs.read() if record.key == key.encode()]

    def story(
        self,
        exchanges: Sequence[Exchange] = (),
        *,
        mark: Exchange | Delivered | None = None,
        jobs: Sequence[Job] = (),
        output: bool = False,
    ) -> list[EvidenceRow]:
        """Exchanges, deliveries of these jobs and their keys, and what the grader did."""
        delivered = self.sink.of_keys([job.key for job in jobs])
        rows = rows_of(exchanges, mark=mark if isinstance(mark, Exchange) else None)
        rows += rows_of_deliveries(delivered, mark=mark if isinstance(mark, Delivered) else None)
        rows += self.arena.timeline(self.begun, self.arena.clock())
        rows = shortened(sorted(rows, key=lambda row: row.at or 0.0))
        return [*rows, *self.output()] if output else rows

    def output(self, most: int = 3) -> list[EvidenceRow]:
        """The last lines of each worker."""
        return [
            EvidenceRow(at=None, who=f"{name} output", what=line)
            for name in self.workers
            for line in self.arena.processes[name].tail(most)
        ]

    def doubt(self) -> str | None:
        """Why the machine or the broker may be at fault for this check's failure, or None."""
        if self.missed and self.group_is_stuck():
            self.stock.needs_new_group = True
            return "the embedded broker has left the consumer group without an assignment"
        if self.missed and self.group_has_not_settled():
            return "the machine was too busy: the consumer group has not come to rest"
        late = [exchange for exchange in self._seen if exchange.status == 503 or _had_no_answer(exchange)]
        return TOO_BUSY if any(map(self.arena.starved_lately, late)) else None


def _had_no_answer(exchange: Exchange) -> bool:
    """Not in time, that is: a connection that was closed has other reasons."""
    return (exchange.failure or "").startswith("no answer")
