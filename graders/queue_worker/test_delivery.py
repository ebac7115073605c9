"""Stage delivery: every job, once, and commits that tell the truth."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from labkit import check, expect

from .sink import Answer
from .topics import PARTITIONS

if TYPE_CHECKING:
    from .bench import Bench
    from .jobs import Job

DELIVERED = "a-job-is-delivered"
WRITTEN = "a-record-of-anyone-is-delivered"
# Long enough for a second delivery to be seen, if there is to be one.
SETTLES_S = 0.7
# Longer than the 5 s after which most clients commit by themselves, if they are let.
SLOW_S, IN_A_ROW = 0.9, 7
HELD_S = 1.0


@check(points=3, kills=["wants-uuids-as-ids", "knows-only-its-own-jobs"], arena="steady", needs=DELIVERED)
def test_a_record_of_anyone_is_delivered(bench: Bench) -> None:
    """A record that another producer wrote is delivered, whatever its id; GET knows it once it was seen."""
    ids = ("x" * 64, f"order:{bench.fresh_key()}", f"100% (of {bench.fresh_key()})?", bench.fresh_key("0"))
    jobs = bench.write(*(replace(bench.new_job(), id=id[:64]) for id in ids))
    bench.succeed(jobs, reading="Records", hint="ids are any string of up to 64 characters")
    for job in jobs:
        bench.shows(job, "succeeded", attempts=bench.tried(job), error=None, reading="Records")


@check(points=2, kills=["starts-at-the-latest"], arena="steady", needs=DELIVERED)
def test_a_backlog_is_delivered(bench: Bench) -> None:
    """What lay on the topic before the first worker started is delivered too."""
    bench.succeed(
        bench.stock.backlog,
        reading="Records",
        hint="a group without commits begins at the beginning, not at the end",
    )


@check(points=2, kills=["delivers-every-record"], arena="steady", needs=WRITTEN)
def test_a_double_is_not_delivered_again(bench: Bench) -> None:
    """A job whose record occurs again, right behind it or later, has one successful delivery."""
    jobs = [bench.new_job() for _ in range(3)]
    first = bench.write(*(each for job in jobs for each in (job, job)))
    bench.succeed(jobs, reading="Once")
    again = bench.write(*jobs)
    marks = _behind(bench, jobs)
    bench.succeed(marks, reading="Once")
    bench.arena.sleep(SETTLES_S)

    bench.once(jobs, hint="remember what was delivered, and look before delivering")
    bench.commits_are_true([*first, *again])


@check(points=2, kills=["looks-then-delivers", "remembers-ids-in-memory"], arena="steady", needs=WRITTEN)
def test_doubles_in_two_partitions_are_one_job(bench: Bench) -> None:
    """A job whose records lie in several partitions has one successful delivery."""
    jobs = [bench.new_job() for _ in range(3)]
    gate = bench.sink.gate()
    for job in jobs:
        bench.sink.script(job.key, Answer(200, gate=gate))
    written = [bench.write(job, partition=number)[0] for number in range(PARTITIONS) for job in jobs]
    for job in jobs:
        bench.deliveries(job, reading="Once")
    bench.arena.sleep(SETTLES_S)
    gate.open()
    marks = _behind(bench, jobs, everywhere=True)
    bench.succeed([*jobs, *marks], reading="Once")
    bench.arena.sleep(SETTLES_S)

    bench.once(jobs, hint="two workers have looked before either had delivered: claim a job before")
    bench.commits_are_true(written)


@check(
    points=3,
    kills=["commits-the-offset-itself", "commits-one-partition-of-a-batch"],
    arena="alone",
    needs=WRITTEN,
)
def test_idle_commits_reach_the_end(bench: Bench) -> None:
    """When nothing is left to do, the committed offset is the end of every partition."""
    bench.ready()
    jobs = [bench.new_job() for _ in range(2 * PARTITIONS)]
    written = bench.topics.write(
        (number % PARTITIONS, job.key.encode(), job.value) for number, job in enumerate(jobs)
    )
    bench.succeed(
        [replace(job, record=record) for job, record in zip(jobs, written, strict=True)], reading="Commits"
    )

    bench.commits_reach_the_ends()


@check(
    points=3,
    kills=["seeks-to-the-beginning-at-start", "commits-the-offset-itself"],
    arena="stops",
    needs=WRITTEN,
)
def test_idle_restarts_deliver_nothing(bench: Bench) -> None:
    """A worker restarted with nothing to do delivers nothing again, and writes no dead letter again."""
    bench.ready()
    kinds = [bench.new_job(), bench.new_job(bench.fresh_key("dead")), bench.new_job()]
    bench.sink.script(kinds[1].key, rest=400)
    jobs = [bench.write(job, partition=number)[0] for number, job in enumerate(kinds)]
    poison = bench.fresh_key("poison")
    bench.write_raw(PARTITIONS - 1, poison.encode(), b"no job")
    bench.succeed([jobs[0], jobs[2]], reading="Commits")
    bench.dead_letter(jobs[1].key)
    bench.dead_letter(poison)
    bench.commits_reach_the_ends()
    letters = [len(bench.dead_letters(key)) for key in (jobs[1].key, poison)]
    bench.restart_workers()
    known = len(bench.sink.all)
    marks = [bench.write(bench.new_job(), partition=number)[0] for number in range(PARTITIONS)]
    bench.succeed(marks, within=15, reading="Commits")
    bench.arena.sleep(SETTLES_S)

    fresh = {job.id for job in marks}
    again = [each for each in bench.sink.all[known:] if each.job_id not in fresh]
    expect(
        len(again),
        equals=0,
        unit="deliveries again after a restart of an idle worker",
        evidence=lambda: bench.story(jobs=jobs),
        reading="Commits",
    )
    after = [len(bench.dead_letters(key)) for key in (jobs[1].key, poison)]
    unit = "dead letters of two dead records after the restart"
    expect(after, equals=letters, unit=unit, reading="Commits")


@check(
    points=4,
    kills=[
        "commits-before-the-work",
        "commits-the-latest-finished",
        "lets-the-client-commit",
        "commits-a-job-that-waits",
    ],
    arena="steady",
    needs=WRITTEN,
)
def test_no_commit_passes_an_unfinished_job(bench: Bench) -> None:
    """The committed offset never passes a job that is being delivered or waits for its next attempt."""
    running, waiting, slow = (bench.new_job(bench.fresh_key(word)) for word in ("runs", "waits", "slow"))
    gate = bench.sink.gate()
    bench.sink.script(running.key, Answer(200, gate=gate))
    bench.sink.script(waiting.key, *[500] * (bench.attempts - 1))
    bench.sink.script(slow.key, rest=Answer(200, after_s=SLOW_S))
    # One after another for longer than clients wait between two commits of their own.
    row = [slow, *(bench.new_job(slow.key) for _ in range(IN_A_ROW - 1))]
    written = [
        *bench.write(running, *_others(bench), partition=0),
        *bench.write(waiting, *_others(bench), partition=1),
        *bench.write(*row, *_others(bench), partition=2),
    ]
    bench.deliveries(running, reading="Commits")
    bench.arena.sleep(HELD_S)
    gate.open()
    bench.succeed(written, within=15, reading="Commits")

    bench.commits_are_true(written, hint="commit up to the first record whose job has not ended, not beyond")


def _others(bench: Bench) -> list[Job]:
    return [bench.new_job(bench.fresh_key("other")) for _ in range(3)]


def _behind(bench: Bench, jobs: list[Job], *, everywhere: bool = False) -> list[Job]:
    """Jobs written behind others: once they are delivered, what lay before them was read."""
    if everywhere:
        return [bench.write(bench.new_job(), partition=number)[0] for number in range(PARTITIONS)]
    places = {bench.partition_of(job.key) for job in jobs}
    return [bench.write(bench.new_job(), partition=place)[0] for place in sorted(places)]
