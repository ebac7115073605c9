"""The verbs of the queue worker's checks."""

from __future__ import annotations

import json
import random
import secrets
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from labkit import (
    Arena,
    CheckFailed,
    EvidenceRow,
    Exchange,
    Request,
    Setup,
    answered,
    expect,
    is_problem,
    rows_of,
    shortened,
)

from . import crashes, group, laws, outages, stops
from .jobs import Job
from .sink import Delivered, Sink, rows_of_deliveries
from .stock import Stock, stocked
from .topics import PARTITIONS, Record

JOBS = "/jobs"
# Ample: a right service needs a fraction, a rebalance of the embedded broker included.
DELIVERED_WITHIN_S = 10.0
SETTLED_WITHIN_S = 8.0
TAKEN_WITHIN_S = 8.0
TOO_BUSY = "the machine was too busy: the service may have given up waiting for Kafka or Postgres"
_LONGEST_WAIT = 3


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
    "steady": _setup("steady", webs=2, workers=2, n=4, b=100, c=8, session=3000, width=5),
    "alone": _setup("alone", n=3, b=300, c=3, session=2000, exclusive=True),
    "stops": _setup("stops", webs=2, workers=1, n=3, b=100, c=4, session=2000, exclusive=True),
    "killed": _setup("killed", workers=2, n=4, b=100, c=4, session=2000, exclusive=True),
    "frozen": _setup("frozen", workers=2, n=4, b=100, c=4, session=2000, exclusive=True),
    "churn": _setup("churn", workers=3, n=4, b=60, c=4, session=2000, exclusive=True),
    "outage": _setup("outage", webs=2, workers=1, n=3, b=60, c=4, session=2000, exclusive=True),
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
    ready = group.ready
    ends_in_order = stops.ends_in_order
    group_is_stuck = group.group_is_stuck
    in_order = laws.in_order
    once = laws.once
    commits_are_true = laws.commits_are_true
    offsets_never_go_back = laws.offsets_never_go_back
    commits_reach_the_ends = laws.commits_reach_the_ends
    deliver_held = crashes.deliver_held
    cut_off = crashes.cut_off
    worker_of = crashes.worker_of
    storm = crashes.storm
    kafka_unreachable = outages.kafka_unreachable
    kafka_silent = outages.kafka_silent
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

    def request(self, method: str, path: str, process: str = "web-1", body: object = None) -> Request:
        """A request; `body` as JSON, or as it is if it is bytes."""
        data = (
            body if isinstance(body, bytes) or body is None else json.dumps(body, ensure_ascii=False).encode()
        )
        headers = {} if data is None else {"Content-Type": "application/json"}
        return Request(process, path, method, headers, data)

    def ask(self, request: Request) -> Exchange:
        """One request that has to be answered, with whatever status."""
        return answered([self.seen(self.arena.send(request))])[0]

    def begin(self, request: Request) -> Future[Exchange]:
        return self.arena.begin(request)

    def seen(self, exchange: Exchange) -> Exchange:
        """Remember an exchange, answered or not, for the story that a failure tells."""
        self._seen.append(exchange)
        return exchange

    def post(self, key: str, payload: object, process: str = "web-1") -> Exchange:
        return self.ask(self.request("POST", JOBS, process, {"key": key, "payload": payload}))

    def queue(self, key: str, payload: Mapping[str, Any] | None = None, process: str = "web-1") -> Job:
        """A POST that has to be taken; the job."""
        payload = payload if payload is not None else {"number": self.chance.getrandbits(40)}
        return self.queue_and_answer(key, payload, process)[0]

    def queue_and_answer(self, key: str, payload: Mapping[str, Any], process: str) -> tuple[Job, Exchange]:
        """A POST that has to be taken, by and by: a 503 may be tried again; the job and the answer."""
        answers = [self.post(key, payload, process)]

        def decided() -> bool:
            if answers[-1].status == 503:
                answers.append(self.post(key, payload, process))
            return answers[-1].status != 503

        self.wait(decided, within=TAKEN_WITHIN_S, every=0.2)
        return self.taken(answers[-1], key, payload), answers[-1]

    def taken(self, answer: Exchange, key: str, payload: Mapping[str, Any]) -> Job:
        """The job of a POST that has to have been answered 202."""
        self.has_status(answer, 202, reading="Jobs")
        body = answer.json()
        return Job(str(body.get("id") if isinstance(body, dict) else None), key, payload)

    def get(self, job_id: str, process: str = "web-1") -> Exchange:
        return self.ask(self.request("GET", f"{JOBS}/{urllib.parse.quote(job_id, safe='')}", process))

    def has_status(self, exchange: Exchange, *wanted: int, reading: str, hint: str | None = None) -> None:
        """The answer has one of these statuses."""
        expect(
            exchange.status or exchange.failure,
            one_of=wanted,
            unit=f"as the status of {exchange.request.method} {exchange.request.path}",
            hints=[(lambda _: hint is not None, hint or "")],
            evidence=lambda: self.story([exchange], mark=exchange),
            reading=reading,
        )

    def refused(self, exchange: Exchange, *wanted: int, reading: str, hint: str | None = None) -> None:
        """The answer is an error with one of these statuses, told as a problem."""
        self.has_status(exchange, *wanted, reading=reading, hint=hint)
        is_problem(exchange)

    def shows(
        self,
        job: Job,
        status: str,
        *,
        reading: str = "Jobs",
        within: float = SETTLED_WITHIN_S,
        **members: Any,
    ) -> dict[str, Any]:
        """GET says this status and these further members, by and by; the body."""
        wanted = {"id": job.id, "key": job.key, "status": status, **members}
        asked: list[Exchange] = []

        def said_so() -> bool:
            asked.append(self.get(job.id))
            body = asked[-1].json()
            return isinstance(body, dict) and {name: body.get(name, ...) for name in wanted} == wanted

        if not self.wait(said_so, within=within, every=0.05):
            self.missed = True
            body = asked[-1].json()
            got = {name: body.get(name, "nothing") for name in wanted} if isinstance(body, dict) else {}
            raise CheckFailed(
                expected=f"{_listed(wanted)} by and by",
                observed=_listed(got) if got else str(asked[-1].status),
                evidence=self.story(asked[-1:], mark=asked[-1], jobs=[job]),
                reading=reading,
            )
        return dict(asked[-1].json())

    def wait(self, *conditions: Callable[[], bool], within: float, every: float = 0.01) -> bool:
        """Wait until one holds, so many seconds and as many more as the machine was late."""
        begin = self.arena.clock()
        while not any(holds() for holds in conditions):
            now = self.arena.clock()
            late = self.arena.late_between(begin, now)
            if now - begin - min(2 * late, _LONGEST_WAIT * within) > within:
                return False
            self.arena.sleep(every)
        return True

    def deliveries(
        self,
        job: Job,
        count: int = 1,
        *,
        within: float = DELIVERED_WITHIN_S,
        reading: str = "Deliveries",
        hint: str | None = None,
    ) -> list[Delivered]:
        """A job's deliveries, once there are so many."""
        if not self.wait(lambda: len(self.sink.of(job.id)) >= count, within=within):
            self.missed = True
            raise CheckFailed(
                expected=f"delivery {count} of job {job.id} within {within:g} s",
                observed=f"{len(self.sink.of(job.id)) or 'no'} deliveries",
                hint=hint,
                evidence=self.story([], jobs=[job], output=True),
                reading=reading,
            )
        return self.sink.of(job.id)

    def succeed(
        self,
        jobs: Sequence[Job],
        *,
        within: float = DELIVERED_WITHIN_S,
        reading: str = "Deliveries",
        hint: str | None = None,
    ) -> None:
        """Each of these jobs gets a successful delivery."""
        if self.wait(lambda: not self.unsuccessful(jobs), within=within):
            return
        self.missed = True
        missing = self.unsuccessful(jobs)
        raise CheckFailed(
            expected=f"{len(jobs)} job{'s' if len(jobs) > 1 else ''} delivered within {within:g} s",
            observed=f"{len(jobs) - len(missing)}; {missing[0].id}{_lies_at(missing[0])} is missing",
            hint=hint,
            evidence=self.story([], jobs=missing[:2], output=True),
            reading=reading,
        )

    def unsuccessful(self, jobs: Iterable[Job]) -> list[Job]:
        """Those that no delivery has answered with success yet."""
        done = {each.job_id for each in list(self.sink.all) if not each.open and each.status == 200}
        return [job for job in jobs if job.id not in done]

    def dead_letters(self, key: bytes | str | None, value: bytes | None = None) -> list[Record]:
        """Dead letters of a key so far; of one value, where it is given."""
        key = key.encode() if isinstance(key, str) else key
        found = [record for record in self.topics.dead.read() if record.key == key]
        return [record for record in found if value is None or record.value == value]

    def dead_letter(
        self, key: bytes | str | None, *, within: float = DELIVERED_WITHIN_S, reading: str = "Dead letters"
    ) -> Record:
        """The first dead letter of a key, once it is there."""
        if not self.wait(lambda: bool(self.dead_letters(key)), within=within, every=0.02):
            self.missed = True
            others = self.topics.dead.read()[-3:]
            raise CheckFailed(
                expected=f"a dead letter with the key {key!r} within {within:g} s",
                observed="none",
                hint="the key of the dead letter is the record's"
                if others and others[-1].key is None
                else None,
                evidence=self.story([], jobs=[Job("", key)] if isinstance(key, str) else [], output=True),
                reading=reading,
            )
        return self.dead_letters(key)[0]

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
        unavailable = [exchange for exchange in self._seen if exchange.status == 503 or exchange.failure]
        return TOO_BUSY if any(map(self.arena.starved_lately, unavailable)) else None


def _listed(members: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in members.items())


def _lies_at(job: Job) -> str:
    return f" (partition {job.record.partition}, offset {job.record.offset})" if job.record else ""
