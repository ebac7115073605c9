"""Stage crash: workers killed, stopped and frozen, and workers that come and go."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from labkit import Message, Way, check, expect

from .laws import COMMITTED_WITHIN_S

if TYPE_CHECKING:
    from .bench import Bench

WRITTEN = "a-record-of-anyone-is-delivered"
RETRIED = "a-failed-delivery-is-tried-again"
# On top of twice the session timeout.
TAKEN_OVER_S = 6.0
FAILED_BEFORE = 2
HELD_S = 1.2
# How often a worker commits is its own; one that commits less often is killed all the same.
COMMITS_S = 1.8
SETTLES_S = 1.5
# What lies behind full slots has been read by then, by whoever reads ahead.
READ_S = 0.6
# For what was committed last to be seen.
SAMPLED_S = 0.2
READING = "When a worker fails"


@check(
    points=3,
    kills=[
        "marks-before-delivering",
        "claims-for-ever",
        "commits-before-the-work",
        "ignores-the-session-timeout",
    ],
    arena="killed",
    needs=WRITTEN,
)
def test_a_killed_workers_job_is_taken_over(bench: Bench) -> None:
    """What a killed worker leaves undone, another delivers within twice the session timeout + 6 s."""
    bench.ready()
    gate = bench.sink.gate()
    job, delivered = bench.deliver_held(bench.new_job(), gate, then=None)
    behind = bench.write(bench.new_job(job.key), partition=job.record.partition if job.record else None)
    killed, _ = bench.worker_of(delivered)
    bench.arena.kill(killed)
    gate.open()

    bench.succeed(
        [job, *behind],
        within=2 * bench.session_s + TAKEN_OVER_S,
        reading=READING,
        hint="what was in flight at the kill is nobody's now: it has not ended, so it has to be done",
    )
    bench.in_order([job, *behind])
    bench.commits_are_true([job, *behind])
    bench.shows(job, "succeeded", reading=READING)


@check(points=2, kills=["commits-before-the-booking"], arena="frozen", needs=WRITTEN)
def test_a_kill_before_the_booking_costs_one_delivery(bench: Bench) -> None:
    """A worker killed between the sink's answer and its booking costs one delivery more at most."""
    bench.ready()
    gate = bench.sink.gate()
    job, delivered = bench.deliver_held(bench.new_job(), gate)
    killed, _ = bench.worker_of(delivered)
    with bench.cut_off(killed, "postgres"):
        gate.open()
        bench.arena.wait_for(lambda: bench.is_committed(job), within=HELD_S)
        bench.arena.kill(killed)

    bench.shows(job, "succeeded", within=2 * bench.session_s + TAKEN_OVER_S, reading="Once")
    bench.arena.sleep(SETTLES_S / 2)
    bench.once([job], allowed={job.id: 1})


@check(points=2, kills=["commits-only-what-is-new-to-it"], arena="killed", needs=WRITTEN)
def test_a_lost_commit_is_made_up_for(bench: Bench) -> None:
    """What a worker has booked and was killed before committing, another commits, with no new record."""
    bench.ready()
    bench.commits_reach_the_ends()
    gate = bench.sink.gate()
    job, delivered = bench.deliver_held(bench.new_job(), gate)
    killed, _ = bench.worker_of(delivered)
    with bench.commits_held(killed) as commit:
        gate.open()
        bench.arena.wait_for(commit.caught.is_set, within=COMMITS_S)
        bench.arena.kill(killed)
        commit.cut()

    bench.succeed([job], within=2 * bench.session_s + TAKEN_OVER_S, reading=READING)
    bench.commits_reach_the_ends(
        reading="Commits",
        hint="who takes a partition commits what is done there, also where it has nothing left to deliver",
        within=2 * bench.session_s + TAKEN_OVER_S + COMMITTED_WITHIN_S,
    )


@check(points=2, kills=["forgets-attempts-at-redelivery"], arena="killed", needs=RETRIED)
def test_attempts_survive_a_crash(bench: Bench) -> None:
    """Attempts that failed before a crash still count after it: the next goes on from there."""
    bench.ready()
    gate = bench.sink.gate()
    job, delivered = bench.deliver_held(bench.new_job(), gate, before=FAILED_BEFORE, then=None)
    killed, _ = bench.worker_of(delivered)
    bench.arena.kill(killed)
    gate.open()
    after = bench.deliveries(
        job, FAILED_BEFORE + 2, within=2 * bench.session_s + TAKEN_OVER_S, reading=READING
    )[FAILED_BEFORE + 1]

    expect(
        after.attempt,
        one_of=[FAILED_BEFORE + 1, FAILED_BEFORE + 2],
        unit=f"as the attempt after a crash during attempt {FAILED_BEFORE + 1}",
        hints=[(lambda attempt: attempt == 1, "attempts are counted in the worker's memory")],
        evidence=lambda: bench.story(jobs=[job], mark=after),
        reading=READING,
    )


@check(
    points=2,
    kills=["worker-dies-at-sigterm", "drops-what-runs-at-sigterm", "leaves-without-a-commit"],
    arena="stops",
    needs=WRITTEN,
)
def test_sigterm_finishes_the_delivery(bench: Bench) -> None:
    """At SIGTERM deliveries under way end, are booked and committed; the worker ends with code 0."""
    bench.ready()
    gate = bench.sink.gate()
    held = [bench.deliver_held(bench.new_job(), gate, partition=number) for number in (0, 1)]
    jobs = [job for job, _ in held]
    bench.terminate_during_deliveries("worker-1", gate)
    bench.surely_heard(*(delivered for _, delivered in held))
    committed = bench.topics.committed()

    for job in jobs:
        assert job.record is not None
        expect(
            committed.get(job.record.partition, 0),
            equals=job.record.offset + 1,
            unit=f"committed in partition {job.record.partition} after the worker has ended",
            hints=[(lambda _: True, "what was finished at SIGTERM is committed before the worker leaves")],
            evidence=lambda: bench.story(jobs=jobs, output=True),
            reading="Starting and stopping",
        )
    bench.arena.start("worker-1")
    marks = [bench.write(bench.new_job(), partition=number)[0] for number in (0, 1)]
    bench.succeed(marks, within=15, reading="Starting and stopping")
    expect(
        [len(bench.sink.of(job.id)) for job in jobs],
        equals=[1, 1],
        unit="deliveries of the jobs that were under way at SIGTERM",
        evidence=lambda: bench.story(jobs=jobs),
        reading="Starting and stopping",
    )
    for job in jobs:
        bench.shows(job, "succeeded", attempts=bench.tried(job), reading="Starting and stopping")


@check(points=1, kills=["commits-all-it-has-read-at-sigterm"], arena="stops", needs=RETRIED)
def test_a_waiting_job_survives_sigterm(bench: Bench) -> None:
    """At SIGTERM a worker commits no job that waits for its next attempt; the next start delivers it."""
    bench.ready()
    waiting = bench.new_job()
    bench.sink.script(waiting.key, 500)
    others = [bench.new_job() for _ in range(3)]
    written = bench.write(waiting, *others, partition=2)
    bench.deliveries(written[0], reading="Starting and stopping")
    bench.succeed(written[1:], reading="Starting and stopping")
    bench.ends_in_order("worker-1", bench.arena.terminate("worker-1"))
    bench.arena.sleep(SAMPLED_S)
    hint = "what waits has not ended: leave it uncommitted, and whoever comes next tries again"
    bench.commits_are_true(written, reading="Starting and stopping", hint=hint)

    bench.arena.start("worker-1")
    bench.succeed(written, within=15, reading="Starting and stopping", hint=hint)


@check(points=3, kills=["delivers-revoked-records"], arena="frozen", needs=WRITTEN)
def test_a_frozen_worker_repeats_nothing(bench: Bench) -> None:
    """A worker frozen beyond its session repeats at most what was in flight; offsets never go back."""
    bench.ready()
    gate = bench.sink.gate()
    held = bench.fill_slots(gate, partition=1)
    jobs = [job for job, _ in held]
    keys = [jobs[0].key, *(bench.fresh_key("behind") for _ in range(bench.slots))]
    behind = bench.write(*(bench.new_job(key) for key in keys), partition=1)
    bench.arena.sleep(READ_S)
    frozen, _ = bench.worker_of(held[0][1])
    bench.arena.pause(frozen)
    # Nobody has to take over from one that lives; what somebody has finished is not to be repeated.
    bench.wait(lambda: not bench.unsuccessful([*jobs, *behind]), within=2 * bench.session_s + TAKEN_OVER_S)
    finished = {one.id for one in behind} - {one.id for one in bench.unsuccessful(behind)}
    gate.open()
    resumed = bench.arena.clock()
    bench.arena.resume(frozen)
    after = bench.write(*(bench.new_job(key) for key in keys), partition=1)
    bench.succeed([*jobs, *behind, *after], reading=READING)
    bench.arena.sleep(SETTLES_S)

    seen = bench.sink.of_keys([job.key for job in [*jobs, *behind]])
    late = [each for each in seen if each.process == frozen and each.at > resumed]
    repeated = [each for each in late if each.job_id in finished]
    expect(
        len(repeated),
        equals=0,
        unit="deliveries by the resumed worker of jobs that another had finished",
        hints=[
            (
                lambda _: True,
                "what was read before the freeze may be another's by now: look once more",
            )
        ],
        evidence=lambda: bench.story(jobs=behind, mark=repeated[0]),
        reading=READING,
        sure=True,
    )
    for job in jobs:
        in_flight = [each for each in late if each.job_id == job.id]
        expect(
            len(in_flight),
            at_most=1,
            unit="further deliveries of a job that was in flight at the freeze",
            evidence=partial(bench.story, jobs=[job]),
            reading=READING,
        )
        bench.shows(job, "succeeded", reading=READING)
    bench.offsets_never_go_back(reading=READING, hint="commit only what is still the worker's own")


@check(
    points=3, kills=["commits-before-the-work", "commits-the-latest-finished"], arena="churn", needs=WRITTEN
)
def test_workers_come_and_go(bench: Bench) -> None:
    """Workers are killed, stopped and frozen under load: nothing lost, order kept, few deliveries twice."""
    bench.ready()
    storm = bench.storm()
    bench.succeed(
        storm.all,
        within=2 * bench.session_s + TAKEN_OVER_S + 5,
        reading=READING,
        hint="every record is somebody's: who reads it next begins at the committed offset",
    )

    bench.commits_are_true(storm.all, reading=READING)
    bench.once(storm.all, allowed=storm.allowed(bench.sink.of_keys(list(storm.jobs))), reading=READING)
    for jobs in storm.jobs.values():
        bench.in_order(jobs, reading=READING)
    bench.offsets_never_go_back(reading=READING)
    bench.commits_reach_the_ends(reading=READING)


@check(points=2, kills=["answers-before-the-record-is-safe"], arena="frozen", needs=WRITTEN)
def test_a_202_survives_a_killed_web(bench: Bench) -> None:
    """A web killed right after its 202, its way to Kafka held before, has lost no job."""
    bench.ready()
    key, payload = bench.fresh_key(), {"number": 1}
    link = bench.arena.link("web-1", "kafka")
    topic = bench.topics.jobs.name

    def of_jobs(message: Message) -> bool:
        return message.api == "Produce" and topic in message.topics

    with link.trap(of_jobs, way=Way.THERE, most=10**6) as trap:
        waiting = bench.begin(bench.request("POST", "/jobs", "web-1", {"key": key, "payload": payload}))
        bench.arena.wait_for(waiting.done, within=HELD_S)
        early = waiting.done()
        if not early:
            trap.release()
        answer = bench.seen(waiting.result())
        bench.arena.kill("web-1")
        trap.cut()
    bench.arena.start("web-1")

    if answer.status == 202:
        bench.succeed(
            [bench.taken(answer, key, payload)],
            within=15,
            reading="Jobs",
            hint="202 came before the job was anywhere but in the memory of the web"
            if early
            else "202 is a promise",
        )
    else:
        bench.has_status(answer, 202, 503, reading="Jobs")
