"""Deliveries held open while a worker is killed, cut off or frozen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from labkit import Gate, Message, Trap, Way

from .jobs import Job
from .sink import Answer, Delivered
from .storm import storm

if TYPE_CHECKING:
    from .bench import Bench

__all__ = ["commits_held", "cut_off", "deliver_held", "fill_slots", "storm", "worker_of"]

ALL_OF_THEM = 10**6


def deliver_held(
    bench: Bench,
    job: Job,
    gate: Gate,
    *,
    before: int = 0,
    then: int | None = 200,
    partition: int | None = None,
) -> tuple[Job, Delivered]:
    """Write a job whose delivery, after `before` failed ones, waits at the gate; (the job, that delivery).

    Later deliveries are answered with 200.
    """
    answers = [Answer(500)] * before + [Answer(then, gate=gate)]
    bench.sink.script(job.id, *answers)
    (written,) = bench.write(job, partition=partition)
    return written, bench.deliveries(written, before + 1)[before]


def fill_slots(bench: Bench, gate: Gate, *, partition: int) -> list[tuple[Job, Delivered]]:
    """Jobs of as many keys as a worker has slots, their first deliveries all held at the gate."""
    jobs = [bench.new_job(bench.fresh_key("held")) for _ in range(bench.slots)]
    for job in jobs:
        bench.sink.script(job.id, Answer(200, gate=gate))
    return [(job, bench.deliveries(job)[0]) for job in bench.write(*jobs, partition=partition)]


def worker_of(bench: Bench, delivered: Delivered) -> tuple[str, list[str]]:
    """The worker of a delivery, and the others."""
    return delivered.process, [name for name in bench.workers if name != delivered.process]


@contextmanager
def cut_off(bench: Bench, worker: str, *services: str) -> Iterator[None]:
    """What a worker says to these services in the block never arrives; it does not outlive the block."""
    with ExitStack() as stack:
        traps: list[Trap[Any]] = [
            stack.enter_context(
                bench.arena.link(worker, service).trap(lambda _: True, way=Way.THERE, most=ALL_OF_THEM)
            )
            for service in services
        ]
        bench.arena.tell(worker, f"what it says to {' and '.join(services)} is held")
        yield
        for trap in traps:
            trap.cut()


@contextmanager
def commits_held(bench: Bench, worker: str) -> Iterator[Trap[Message]]:
    """What a worker commits is held on its way to Kafka, and what it says after that."""
    topic = bench.topics.jobs.name

    def commits(message: Message) -> bool:
        return message.api in ("OffsetCommit", "TxnOffsetCommit") and topic in message.topics

    with bench.arena.link(worker, "kafka").trap(commits, way=Way.THERE, most=ALL_OF_THEM) as trap:
        bench.arena.tell(worker, "what it commits is held on its way")
        yield trap
