"""Processes ended by SIGTERM, in the middle of their work or with none."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from labkit import Exchange, Gate, Inconclusive, Message, Request, Statement, Way, expect

if TYPE_CHECKING:
    from .bench import Bench

ALL_OF_THEM = 10**6
HELD_WITHIN_S = 2.0
# What a process needs to take a request in hand that was sent to it.
BEGUN_IN_S = 0.4
# What a process needs to notice a signal.
TAKEN_IN_S = 0.2
ENDS_WITHIN_S = 8.0
READING = "Starting and stopping"


def terminate_during_a_post(bench: Bench, process: str, post: Request) -> tuple[Exchange, int | None]:
    """SIGTERM while a POST waits for Kafka or Postgres; (what came of it, the exit code)."""
    topic = bench.topics.jobs.name

    def produces(message: Message) -> bool:
        return message.api == "Produce" and topic in message.topics

    def any_statement(_: Statement) -> bool:
        return True

    with ExitStack() as stack:
        links = (
            bench.arena.link(process, "kafka").trap(produces, way=Way.BACK, most=ALL_OF_THEM),
            bench.arena.link(process, "postgres").trap(any_statement, way=Way.BACK, most=ALL_OF_THEM),
        )
        kafka, postgres = stack.enter_context(links[0]), stack.enter_context(links[1])

        def go_on() -> None:
            bench.arena.sleep(TAKEN_IN_S)
            kafka.release()
            postgres.release()

        before = _said(bench, process)
        waiting = bench.begin(post)
        bench.arena.wait_for(kafka.caught.is_set, postgres.caught.is_set, waiting.done, within=HELD_WITHIN_S)
        # What was caught may be of the process's own accord, and the POST not begun yet.
        bench.arena.wait_for(waiting.done, within=BEGUN_IN_S)
        # Of what a process says of its own accord it has said something before.
        has_begun = bool(_said(bench, process) - before)
        sent, code = bench.arena.clock(), bench.arena.terminate(process, then=go_on)
    answer = bench.seen(waiting.result())
    if answer.status is None and not has_begun and bench.arena.starved_between(answer.sent, sent):
        raise Inconclusive("the machine was too busy: the POST may not have been begun before SIGTERM")
    return answer, code


def _said(bench: Bench, process: str) -> set[str]:
    """All that a process has told Postgres and asked of Kafka so far; nothing where nobody can tell."""
    try:
        statements = bench.arena.link(process, "postgres").statements
        messages = bench.arena.link(process, "kafka").messages
    except Inconclusive:
        return set()
    return {each.text for each in statements} | {f"{each.api} {each.topics}" for each in messages}


def terminate_during_deliveries(bench: Bench, worker: str, gate: Gate) -> None:
    """SIGTERM while deliveries wait at the gate, which opens once the worker knows."""

    def go_on() -> None:
        bench.arena.sleep(TAKEN_IN_S)
        gate.open()

    code = bench.arena.terminate(worker, then=go_on)
    ends_in_order(bench, worker, code)


def restart_workers(bench: Bench, workers: Sequence[str] | None = None) -> None:
    """SIGTERM to workers that have nothing to do, then a start."""
    for worker in workers or bench.workers:
        ends_in_order(bench, worker, bench.arena.terminate(worker))
    bench.arena.start_all(list(workers or bench.workers))


def ends_in_order(bench: Bench, process: str, code: int | None) -> None:
    """It has ended by itself, with code 0."""
    now = bench.arena.clock()
    if code is None and bench.arena.starved_between(now - ENDS_WITHIN_S, now):
        raise Inconclusive(f"the machine was too busy for {process} to end in time")
    expect(
        "no end within 8 s" if code is None else code,
        equals=0,
        unit=f"as the exit code of {process} after SIGTERM",
        hints=[(lambda code: code in (-15, 143), "SIGTERM has to be caught: finish, then end")],
        evidence=lambda: bench.story(output=True),
        reading=READING,
    )
