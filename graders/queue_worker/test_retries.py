"""Stage retries: attempts, the waits between them, and their end."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from labkit import Inconclusive, check, expect

from .sink import CUT, SILENCE, Answer, Delivered

if TYPE_CHECKING:
    from .bench import Bench
    from .jobs import Job

WRITTEN = "a-record-of-anyone-is-delivered"
RETRIED = "a-failed-delivery-is-tried-again"
# Long enough for one more attempt to be seen, if there is to be one.
SETTLES_S = 1.5
IN_TIME_S = 1.2
DEAD_WITHIN_S = 10.0
SILENT_ATTEMPTS_WITHIN_S = 10.0
# Of the 2 s that a worker waits for an answer, so much may pass before the delivery has arrived.
ON_ITS_WAY_S = 0.8
# By so much timers of some systems end too soon.
EARLY_S = 0.005


@check(
    points=2,
    kills=[
        "gives-up-at-the-first-5xx",
        "attempt-stays-one",
        "new-idempotency-key-each-attempt",
        "a-cut-connection-is-final",
        "backs-off-in-seconds",
    ],
    arena="steady",
    needs=WRITTEN,
)
def test_a_failed_delivery_is_tried_again(bench: Bench) -> None:
    """After a 5xx or a connection that is cut, the next attempt follows, with the same Idempotency-Key."""
    for answers in ((500, 503), (CUT, 599), (502, CUT)):
        job = bench.new_job()
        bench.sink.script(job.key, *answers)
        (written,) = bench.write(job)
        delivered = bench.deliveries(
            written, 3, reading="Retries", hint="a 5xx, or no answer, is not the end"
        )

        _expect_numbered(bench, job, delivered[:3])
        keys = sorted({each.headers.get("idempotency-key", "nothing") for each in delivered})
        expect(
            keys,
            equals=[job.id],
            unit="as the Idempotency-Keys of three attempts",
            evidence=partial(bench.story, jobs=[job]),
            reading="Retries",
        )
        bench.shows(job, "succeeded", attempts=3, error=None, reading="Retries")


@check(points=2, kills=["waits-a-fixed-time"], arena="steady", needs=RETRIED)
def test_waits_double(bench: Bench) -> None:
    """Before attempt k+1 a worker waits b * 2^(k-1) ms, half of it at the least, double at the most."""
    jobs = [bench.new_job() for _ in range(5)]
    for job in jobs:
        bench.sink.script(job.key, *[500] * (bench.attempts - 1))
    bench.write(*jobs)
    for job in jobs:
        delivered = bench.deliveries(
            job, bench.attempts, reading="Retries", hint="BACKOFF_MS is in milliseconds"
        )
        for number, (before, after) in enumerate(pairwise(delivered)):
            least = bench.backoff_s * 2**number / 2
            expect(
                after.at - before.answered,
                at_least=least - EARLY_S,
                unit=f"s from the answer to attempt {number + 1} to attempt {number + 2}",
                hints=[(lambda _: True, "does the wait double with each attempt?")] if number else [],
                evidence=partial(bench.story, jobs=[job], mark=after),
                reading="Retries",
                sure=True,
            )


@check(points=3, kills=["tries-once-more", "retries-for-ever"], arena="steady", needs=RETRIED)
def test_a_job_dies_after_n_attempts(bench: Bench) -> None:
    """A job whose n attempts have all failed is dead: no further delivery, a dead letter, GET says so."""
    posted = bench.fresh_key()
    bench.sink.script(posted, rest=500)
    jobs = [*bench.write(*(_failing(bench) for _ in range(2))), bench.queue(posted)]
    for job in jobs:
        bench.deliveries(job, bench.attempts, reading="Retries")
        bench.wait(partial(_is_over, bench, job), within=DEAD_WITHIN_S, every=0.05)
    bench.arena.sleep(SETTLES_S)

    for job in jobs:
        expect(
            bench.tried(job),
            equals=bench.attempts,
            unit="deliveries of a job that fails every time",
            hints=[(lambda count: count == bench.attempts + 1, "MAX_ATTEMPTS counts the first attempt too")],
            evidence=partial(bench.story, jobs=[job]),
            reading="Retries",
        )
        bench.dead_letter(job.key, reading="Retries")
        bench.shows(job, "dead", attempts=bench.attempts, reading="Retries")


@check(points=2, kills=["retries-every-error", "retries-a-429"], arena="steady", needs=RETRIED)
def test_a_4xx_is_final(bench: Bench) -> None:
    """A job that the sink refuses with a 4xx, 429 included, is dead at once, after one delivery."""
    statuses = (400, 404, 409, 422, 429)
    jobs = [bench.new_job(bench.fresh_key(f"refused-{status}")) for status in statuses]
    for job, status in zip(jobs, statuses, strict=True):
        bench.sink.script(job.key, rest=status)
    bench.write(*jobs)
    for job in jobs:
        bench.dead_letter(job.key, reading="Retries")
        bench.shows(job, "dead", attempts=bench.tried(job), reading="Retries")
    bench.arena.sleep(SETTLES_S / 2)

    for job, status in zip(jobs, statuses, strict=True):
        if 1 < bench.tried(job) < bench.attempts and bench.busy():
            raise Inconclusive("the machine was too busy: the refusal may have come after 2 s")
        expect(
            bench.tried(job),
            equals=1,
            unit=f"deliveries of a job that is refused with {status}",
            evidence=partial(bench.story, jobs=[job]),
            reading="Retries",
        )


@check(
    points=2,
    kills=["gives-up-after-half-a-second", "waits-for-the-sink-for-ever"],
    arena="steady",
    needs=RETRIED,
)
def test_a_delivery_times_out_after_2_s(bench: Bench) -> None:
    """A worker waits 2 s for the sink's answer, no less; then the next attempt follows."""
    slow, silent = bench.new_job(bench.fresh_key("slow")), bench.new_job(bench.fresh_key("silent"))
    bench.sink.script(slow.key, rest=Answer(200, after_s=IN_TIME_S))
    bench.sink.script(silent.key, SILENCE)
    bench.write(slow, silent)
    first, second = bench.deliveries(
        silent,
        2,
        within=SILENT_ATTEMPTS_WITHIN_S,
        reading="Deliveries",
        hint="a sink that does not answer must not be waited for for ever",
    )[:2]

    waited = second.at - first.at + bench.arena.late_between(first.at - 2, second.at)
    expect(
        waited,
        at_least=2 - ON_ITS_WAY_S,
        unit="s from a delivery without an answer to the next",
        evidence=lambda: bench.story(jobs=[silent]),
        reading="Deliveries",
    )
    bench.succeed([slow, silent], reading="Deliveries")
    begun = bench.sink.of(slow.id)[0]
    if len(bench.sink.of(slow.id)) != 1 and bench.arena.starved_between(begun.at - 2, begun.answered):
        raise Inconclusive("the machine was too busy: the answer may have come after 2 s")
    expect(
        len(bench.sink.of(slow.id)),
        equals=1,
        unit=f"deliveries of a job that the sink takes {IN_TIME_S:g} s for",
        evidence=lambda: bench.story(jobs=[slow]),
        reading="Deliveries",
    )
    bench.shows(silent, "succeeded", attempts=2, reading="Deliveries")


@check(points=2, kills=["a-refused-connection-ends-the-worker"], arena="alone", needs=RETRIED)
def test_a_refused_connection_is_an_attempt(bench: Bench) -> None:
    """Where the sink takes no connection a job is dead after n attempts; the worker goes on."""
    bench.ready()
    entrance = bench.arena.entrance("worker-1", "SINK_URL")
    job = bench.new_job(bench.fresh_key("nobody-home"))
    entrance.refuse()
    bench.arena.tell("sink", "refuses connections")
    try:
        bench.write(job)
        letter = bench.dead_letter(job.key, reading="Retries")
    finally:
        entrance.open()
        bench.arena.tell("sink", "takes connections again")

    told = dict(letter.headers).get("x-attempts", b"nothing")
    expect(
        told.decode("latin-1"),
        equals=str(bench.attempts),
        unit="as x-attempts of a job that could not be delivered",
        reading="Retries",
    )
    later = bench.write(*(bench.new_job() for _ in range(3)))
    bench.succeed(later, reading="Retries", hint="the worker has not got over a sink that was away")


def _is_over(bench: Bench, job: Job) -> bool:
    return bench.tried(job) > bench.attempts or bool(bench.dead_letters(job.key))


def _failing(bench: Bench) -> Job:
    job = bench.new_job()
    bench.sink.script(job.key, rest=500)
    return job


def _expect_numbered(bench: Bench, job: Job, delivered: list[Delivered]) -> None:
    expect(
        [each.attempt for each in delivered],
        equals=list(range(1, len(delivered) + 1)),
        unit="as the attempts of one job",
        evidence=lambda: bench.story(jobs=[job]),
        reading="Retries",
    )
