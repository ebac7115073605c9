"""Stage order: one key in order, and no key held back by another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from labkit import Inconclusive, check, expect

from .outages import wait_for_letter
from .sink import CUT, Answer
from .values import load

if TYPE_CHECKING:
    from .bench import Bench
    from .jobs import Job

WRITTEN = "a-record-of-anyone-is-delivered"
RETRIED = "a-failed-delivery-is-tried-again"
LETTERS = "a-dead-letter-is-the-record"
IN_A_ROW = 8
HELD_S = 1.6
FAILS, OTHERS = 2, 12
# For so many deliveries, ten times over.
ENOUGH_S = 1.5
TOO_BUSY = "the machine was too busy to deliver anything meanwhile"


@check(
    points=4,
    kills=["one-pool-for-all-keys", "retries-at-the-back-of-the-queue"],
    arena="steady",
    needs=RETRIED,
)
def test_one_key_keeps_its_order(bench: Bench) -> None:
    """Jobs of one key are delivered in the order of the topic, the next when the one before has ended."""
    moods: tuple[tuple[Answer | int, ...], ...] = ((500,), (CUT,), (Answer(200, after_s=0.05),), (400,))
    rows: list[list[Job]] = []
    for mood in moods:
        key = bench.fresh_key()
        bench.sink.script(key, *mood)
        rows.append([bench.new_job(key) for _ in range(IN_A_ROW)])
    written = [bench.write(*jobs) for jobs in rows]
    key = bench.fresh_key()
    bench.sink.script(key, Answer(200, after_s=0.02))
    for number in range(IN_A_ROW):
        bench.queue(key, process=bench.webs[number % len(bench.webs)])
    written.append(_as_on_the_topic(bench, key))
    marks = [*written[0], *written[1], *written[2], *written[4]]
    bench.succeed(marks, within=15, reading="Order")
    bench.shows(written[3][-1], "dead", reading="Order")

    for jobs in written:
        bench.in_order(jobs, hint="one after another: also while one waits for its next attempt")


@check(
    points=2,
    kills=["sleeps-in-the-poll-loop", "waits-in-its-slot", "a-lane-for-some-keys"],
    arena="stops",
    needs=RETRIED,
)
def test_a_waiting_job_holds_its_own_key_only(bench: Bench) -> None:
    """While c jobs and one more wait for their next attempts, all other keys of their partition go on."""
    bench.ready()
    waiting = [bench.new_job(bench.fresh_key("waits")) for _ in range(bench.slots + 1)]
    for job in waiting:
        bench.sink.script(job.key, *[500] * FAILS)
    others = [bench.new_job(bench.fresh_key("other")) for _ in range(OTHERS)]
    begin = bench.arena.clock()
    written = bench.write(*waiting, *others, partition=2)
    bench.succeed(written, within=20, reading="Order")

    # No wait is over before; and before the last attempts none of the waiting has ended. A delivery needs a
    # small part of either.
    waited = min(bench.sink.of(job.id)[0].answered for job in waiting) + bench.backoff_s / 2
    over = min(bench.sink.of(job.id)[FAILS].at for job in waiting)
    at_once = [job for job in others if bench.sink.of(job.id)[0].at < waited]
    held = [job for job in others if bench.sink.of(job.id)[0].at > over]
    if not at_once and bench.arena.starved_between(begin, waited):
        raise Inconclusive(TOO_BUSY)
    expect(
        len(at_once),
        at_least=1,
        unit=f"of {len(others)} jobs of other keys delivered before any of {len(waiting)} waits had ended",
        hints=[(lambda _: True, "a wait must hold up neither the partition nor one of the c slots")],
        evidence=lambda: bench.story(jobs=[*waiting, *others]),
        reading="Order",
    )
    if held and over - begin - bench.arena.starved_for(begin, over) < ENOUGH_S:
        raise Inconclusive(TOO_BUSY)
    expect(
        len(others) - len(held),
        equals=len(others),
        unit=f"of {len(others)} jobs of other keys delivered before any of the jobs that wait had ended",
        hints=[(lambda _: True, "do several keys share a lane, which one that waits holds up?")],
        evidence=lambda: bench.story(jobs=[*waiting, *held]),
        reading="Order",
    )


@check(points=2, kills=["awaits-the-dead-letter-in-the-poll-loop"], arena="alone", needs=LETTERS)
def test_poison_holds_its_own_key_only(bench: Bench) -> None:
    """While the dead letter of a poison record is on its way, other keys of its partition are delivered."""
    bench.ready()
    with bench.dead_letters_held() as held:
        bench.write_raw(3, bench.fresh_key("poison").encode(), b"no job")
        wait_for_letter(bench, held)
        begin = bench.arena.clock()
        others = bench.write(*(bench.new_job(bench.fresh_key("other")) for _ in range(4)), partition=3)
        bench.arena.wait_for(lambda: not bench.unsuccessful(others), within=HELD_S)
        meanwhile = len(others) - len(bench.unsuccessful(others))
    starved = bench.arena.starved_between(begin, bench.arena.clock())
    bench.succeed(others, reading="Order")

    if not meanwhile and starved:
        raise Inconclusive(TOO_BUSY)
    expect(
        meanwhile,
        at_least=1,
        unit=f"of {len(others)} jobs of other keys delivered while a dead letter was on its way",
        hints=[(lambda _: True, "does the worker stand still until the broker has the dead letter?")],
        evidence=lambda: bench.story(jobs=others),
        reading="Order",
    )


def _as_on_the_topic(bench: Bench, key: str) -> list[Job]:
    """The jobs of a key as they lie there."""
    from .jobs import Job

    found: list[Job] = []
    for record in bench.records_of(key):
        body = load(record.value)
        if isinstance(body, dict) and body.get("id") not in {job.id for job in found}:
            found.append(replace(Job(str(body.get("id")), key), record=record))
    return found
