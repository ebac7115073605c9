"""Stage parallel: deliveries side by side, workers side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit import Inconclusive, check, expect

from .sink import Answer, Delivered
from .topics import PARTITIONS

if TYPE_CHECKING:
    from .bench import Bench
    from .jobs import Job

WRITTEN = "a-record-of-anyone-is-delivered"
# A delivery may be held for less than the 2 s after which its worker gives it up.
HELD_S = 1.5
SETTLES_S = 0.6
SHARED_WITHIN_S = 12.0


@check(points=2, kills=["one-at-a-time", "waits-for-the-whole-batch"], arena="alone", needs=WRITTEN)
def test_c_deliveries_run_side_by_side(bench: Bench) -> None:
    """A worker runs c deliveries of different keys at a time, of one partition too, and fills a free slot."""
    bench.ready()
    gates = [bench.sink.gate() for _ in range(bench.slots + 1)]
    jobs = [bench.new_job() for _ in gates]
    for job, gate in zip(jobs, gates, strict=True):
        bench.sink.script(job.key, Answer(200, gate=gate))
    bench.write(*jobs[:-1], partition=1)
    first = bench.deliveries(jobs[0], reading="Side by side")[0]
    bench.arena.wait_for(lambda: len(_open(bench, jobs)) >= bench.slots, within=HELD_S)
    at_once = len(_open(bench, jobs))
    # Read after the others, so that it is of no batch with them.
    bench.write(jobs[-1], partition=1)
    gates[0].open()
    left = max(first.at + HELD_S - bench.arena.clock(), 0.3)
    bench.arena.wait_for(lambda: bool(bench.sink.of(jobs[-1].id)), within=left)
    filled = bool(bench.sink.of(jobs[-1].id))
    ended = bench.arena.clock()
    for gate in gates:
        gate.open()
    bench.succeed(jobs, reading="Side by side")

    if not (at_once >= bench.slots and filled) and bench.arena.starved_between(first.at, ended):
        raise Inconclusive("the machine was too busy to run deliveries side by side")
    unit = f"deliveries of different keys at the same time, with WORKER_CONCURRENCY={bench.slots}"
    story = bench.story(jobs=jobs)
    expect(at_once, at_least=bench.slots, unit=unit, evidence=story, reading="Side by side")
    expect(
        "taken by the next job" if filled else "left empty",
        equals="taken by the next job",
        unit="while the other deliveries go on: a slot that has become free",
        hints=[(lambda _: True, "does it wait for all of a batch before it begins the next?")],
        evidence=story,
        reading="Side by side",
    )


@check(points=2, kills=["ignores-the-concurrency"], arena="alone", needs=WRITTEN)
def test_no_more_than_c_at_once(bench: Bench) -> None:
    """A worker never runs more than c deliveries at a time."""
    bench.ready()
    gate = bench.sink.gate()
    jobs = [bench.new_job() for _ in range(3 * bench.slots)]
    for job in jobs:
        bench.sink.script(job.key, Answer(200, gate=gate))
    for number, job in enumerate(jobs):
        bench.write(job, partition=number % PARTITIONS)
    bench.deliveries(jobs[0], reading="Side by side")
    bench.arena.sleep(SETTLES_S)
    at_once = _open(bench, jobs)
    story = bench.story(jobs=jobs)
    gate.open()

    if all(bench.arena.clock() - each.at < HELD_S for each in at_once):
        expect(
            len(at_once),
            at_most=bench.slots,
            unit=f"deliveries at the same time, with WORKER_CONCURRENCY={bench.slots}",
            evidence=story,
            reading="Side by side",
            sure=True,
        )
    bench.succeed(jobs, reading="Side by side")


@check(points=2, kills=["one-worker-at-a-time"], arena="steady", needs=WRITTEN)
def test_workers_share_the_partitions(bench: Bench) -> None:
    """With two workers both deliver, and each job once."""
    jobs: list[Job] = []

    def both() -> bool:
        fresh = [bench.write(bench.new_job(), partition=number)[0] for number in range(PARTITIONS)]
        jobs.extend(fresh)
        bench.succeed(fresh, reading="Side by side")
        return len({each.process for each in bench.sink.of_keys([job.key for job in jobs])}) > 1

    shared = bench.wait(both, within=SHARED_WITHIN_S, every=0.3)
    if not shared:
        bench.missed = True
    expect(
        "both" if shared else "one",
        equals="both",
        unit=f"of {len(bench.workers)} workers deliver",
        evidence=lambda: bench.story(jobs=jobs[:4], output=True),
        reading="Side by side",
    )
    bench.once(jobs, reading="Side by side")


def _open(bench: Bench, jobs: list[Job]) -> list[Delivered]:
    """Deliveries under way, of which the worker is still there."""
    ids = {job.id for job in jobs}
    return [each for each in list(bench.sink.all) if each.open and each.job_id in ids]
