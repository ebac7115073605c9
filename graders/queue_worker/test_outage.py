"""Stage outage: Kafka or Postgres gone for a while, and a dead-letter topic that cannot be written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from labkit import CheckFailed, Inconclusive, check, expect

from .topics import PARTITIONS

if TYPE_CHECKING:
    from .bench import Bench
    from .jobs import Job

WRITTEN = "a-record-of-anyone-is-delivered"
LETTERS = "a-dead-letter-is-the-record"
# What the contract names. Who gives up after a few seconds is found out by it.
AWAY_S = 10.0
# Longer than a session, so that the group notices; it lasts until the last POST is answered in any case.
SILENT_S = 4.0
UNWRITABLE_S = 2.0
# The contract gives no time, so clients may take their own in coming back.
BACK_WITHIN_S = 20.0
NOT_THE_JOB = "an error of Postgres says nothing about the job: try again until Postgres is back"


@check(
    points=3,
    kills=[
        "a-post-waits-for-kafka",
        "answers-202-without-kafka",
        "health-asks-kafka",
        "worker-ends-with-kafka",
        "worker-ends-when-kafka-stays-away",
        "a-202-trusts-the-client",
    ],
    arena="outage",
    needs=WRITTEN,
)
def test_kafka_refused_then_back(bench: Bench) -> None:
    """With Kafka refusing connections a POST gets 503, or a 202 that is kept; workers go on by themselves."""
    _through(bench, bench.arena.faults("kafka").refused, lasts=AWAY_S)


@check(points=2, kills=["a-post-waits-for-kafka"], arena="outage", needs=WRITTEN)
def test_kafka_silent_then_back(bench: Bench) -> None:
    """With a Kafka that accepts and never answers a POST gets 503, or a 202 that is kept, within 5 s."""
    _through(bench, bench.arena.faults("kafka").paused, lasts=SILENT_S)


@check(
    points=3,
    kills=[
        "postgres-error-is-a-dead-letter",
        "worker-ends-with-postgres",
        "goes-on-without-booking",
        "gives-postgres-up-after-5-s",
    ],
    arena="alone",
    needs=WRITTEN,
)
def test_postgres_down_then_back(bench: Bench) -> None:
    """With Postgres down no job is lost and no healthy one dead; workers go on by themselves afterwards."""
    bench.ready()
    gate = bench.sink.gate()
    running, _ = bench.deliver_held(bench.new_job(), gate)
    with bench.arena.faults("postgres").stopped():
        begin = bench.arena.clock()
        gate.open()
        written = [bench.write(bench.new_job(), partition=number)[0] for number in range(PARTITIONS)]
        taken = bench.posts_meanwhile(begin, lasts=AWAY_S, reading="When Postgres fails")

    jobs = [running, *written, *taken]
    _expect_workers(bench)
    bench.succeed(jobs, within=BACK_WITHIN_S, reading="When Postgres fails", hint=NOT_THE_JOB)
    for job in jobs:
        bench.shows(job, "succeeded", within=BACK_WITHIN_S, reading="When Postgres fails")
    letters = [letter for job in jobs for letter in bench.dead_letters(job.key)]
    expect(
        len(letters),
        equals=0,
        unit="dead letters of healthy jobs",
        hints=[(bool, NOT_THE_JOB)],
        evidence=lambda: bench.story(jobs=jobs[:3]),
        reading="When Postgres fails",
    )
    bench.once(jobs, allowed={job.id: 1 for job in jobs}, reading="When Postgres fails")
    bench.commits_reach_the_ends(reading="When Postgres fails", within=BACK_WITHIN_S)


@check(points=2, kills=["gives-up-on-the-dead-letter"], arena="stops", needs=LETTERS)
def test_an_unwritable_dead_letter_topic_is_waited_for(bench: Bench) -> None:
    """While the dead-letter topic cannot be written a dead record stays uncommitted, then it is there."""
    bench.ready()
    dead = bench.new_job(bench.fresh_key("dead"))
    bench.sink.script(dead.key, rest=400)
    with bench.dead_letters_cut() as letters:
        (written,) = bench.write(dead, partition=2)
        if not bench.wait(lambda: letters.cuts > 0, within=10):
            raise Inconclusive("no write to the dead-letter topic was seen on the way to Kafka")
        bench.arena.sleep(UNWRITABLE_S)

    assert written.record is not None
    bench.commits_are_true(
        [],
        ends={written.record: letters.until},
        reading="Dead letters",
        hint="a dead letter that could not be written is not written: try again, and commit nothing",
    )
    bench.dead_letter(dead.key, within=BACK_WITHIN_S)
    later = [bench.write(bench.new_job(), partition=number)[0] for number in range(PARTITIONS)]
    bench.succeed(later, within=BACK_WITHIN_S, reading="Dead letters")
    bench.commits_reach_the_ends(reading="Dead letters", within=BACK_WITHIN_S)


def _through(bench: Bench, outage: Callable[[], AbstractContextManager[None]], *, lasts: float) -> None:
    """An outage of Kafka for so many s, a job under way, POSTs meanwhile, and what comes of all of them."""
    bench.ready()
    gate = bench.sink.gate()
    running, _ = bench.deliver_held(bench.new_job(), gate)
    with outage():
        begin = bench.arena.clock()
        gate.open()
        taken = bench.posts_meanwhile(begin, lasts=lasts, reading="When Kafka fails")

    _expect_workers(bench)
    after = [_queued_again(bench, web) for web in bench.webs]
    bench.succeed(
        [running, *taken, *after],
        within=BACK_WITHIN_S,
        reading="When Kafka fails",
        hint="does the worker find Kafka again by itself? And is a 202 kept?",
    )
    _expect_workers(bench)
    bench.shows(running, "succeeded", reading="When Kafka fails")
    bench.once([running], reading="When Kafka fails")
    bench.commits_reach_the_ends(reading="When Kafka fails", within=BACK_WITHIN_S)


def _queued_again(bench: Bench, web: str) -> Job:
    """A job that a web takes, once it has found Kafka again."""
    key, payload = bench.fresh_key("after"), {"number": 1}
    answers = [bench.post(key, payload, web)]

    def taken() -> bool:
        if answers[-1].status != 202:
            answers.append(bench.post(key, payload, web))
        return answers[-1].status == 202

    if not bench.wait(taken, within=BACK_WITHIN_S, every=0.2):
        raise CheckFailed(
            expected=f"202 from {web} within {BACK_WITHIN_S:g} s after the outage",
            observed=f"{answers[-1].status} after {len(answers)} tries",
            evidence=bench.story(answers[-3:], mark=answers[-1]),
            reading="When Kafka fails",
        )
    return bench.taken(answers[-1], key, payload)


def _expect_workers(bench: Bench) -> None:
    """None has ended by itself."""
    for worker in bench.workers:
        bench.arena.expect_running(worker)
