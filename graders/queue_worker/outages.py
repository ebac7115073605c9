"""Kafka gone or silent, and a dead-letter topic that cannot be written."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from labkit import Exchange, Inconclusive, Message, Request, Trap, Way, answered, expect, rows_of

from .jobs import Job

if TYPE_CHECKING:
    from .bench import Bench

ALL_OF_THEM = 10**6
CAUGHT_WITHIN_S = 10.0
ANSWER_WITHIN_S = 5.0
# So long is listened for an answer: what a busy machine has taken of it does not count.
LISTEN_S = 12.0
POSTS_EACH = 3
IN_TIME = "give Kafka and Postgres up in time, and say 503"


def posts_meanwhile(bench: Bench, begin: float, *, lasts: float, reading: str) -> list[Job]:
    """What is taken in an outage of so many s: of POSTs at once, and of more before it ends."""
    taken = _posts(bench, bench.fresh_key("during"), reading=reading)
    last = begin + lasts - ANSWER_WITHIN_S
    if bench.arena.clock() <= last:
        bench.arena.sleep_until(last)
        taken += _posts(bench, bench.fresh_key("later"), reading=reading)
    bench.arena.sleep_until(begin + lasts)
    return taken


def _posts(bench: Bench, key: str, *, reading: str) -> list[Job]:
    """POSTs at every web at once, each answered 202 or 503 in time, and /healthz 200; those taken."""
    payloads = [{"number": number} for number in range(POSTS_EACH * len(bench.webs))]
    posts = [
        bench.request("POST", "/jobs", bench.webs[number % len(bench.webs)], {"key": key, "payload": payload})
        for number, payload in enumerate(payloads)
    ]
    healths = [Request(web, "/healthz") for web in bench.webs]
    patient = [replace(post, deadline_s=LISTEN_S) for post in posts]
    answers = [bench.seen(answer) for answer in bench.arena.burst([*patient, *healths])]
    for answer in answered(answers[len(posts) :], hint=IN_TIME):
        expect(
            answer.status,
            equals=200,
            unit="as the status of GET /healthz meanwhile",
            hints=[(bool, "health is not that of Kafka or Postgres")],
            evidence=rows_of([answer], mark=answer),
            reading=reading,
            sure=True,
        )
    for answer in answers[: len(posts)]:
        _in_time(bench, answer, reading=reading)
    taken = zip(answers, payloads, strict=False)
    return [bench.taken(answer, key, payload) for answer, payload in taken if answer.status == 202]


def _in_time(bench: Bench, answer: Exchange, *, reading: str) -> None:
    expect(
        answer.surely_took_s,
        at_most=ANSWER_WITHIN_S,
        unit="s for the answer to a POST",
        hints=[(bool, IN_TIME)],
        evidence=lambda: rows_of([answer], mark=answer),
        reading=reading,
        sure=True,
    )
    answered([answer], hint=IN_TIME)
    bench.has_status(answer, 202, 503, reading=reading)
    if answer.status == 503:
        bench.is_problem(answer)


@dataclass
class HeldLetters:
    """Dead letters on their way. `released` tells when the first can have been written."""

    traps: list[Trap[Message]]
    released: float = float("inf")

    @property
    def caught(self) -> bool:
        return any(trap.caught.is_set() for trap in self.traps)


@contextmanager
def dead_letters_held(bench: Bench) -> Iterator[HeldLetters]:
    """What is written to the dead-letter topic is held on its way, until the block ends."""
    with ExitStack() as stack:
        held = HeldLetters([stack.enter_context(_trap(bench, link)) for link in _to_kafka(bench)])
        bench.arena.tell("kafka", "what goes to the dead-letter topic is held on its way")
        try:
            yield held
        finally:
            held.released = bench.arena.clock()
            bench.arena.tell("kafka", "what goes to the dead-letter topic gets there")


def wait_for_letter(bench: Bench, held: HeldLetters) -> None:
    """Until the first dead letter is on its way. Raises Inconclusive where none is seen."""
    if not bench.wait(lambda: held.caught, within=CAUGHT_WITHIN_S):
        raise Inconclusive("no write to the dead-letter topic was seen on the way to Kafka")


@dataclass
class CutLetters:
    """Writes of dead letters that were cut. `until`: none can have been written before."""

    cuts: int = 0
    until: float = float("inf")


@contextmanager
def dead_letters_cut(bench: Bench) -> Iterator[CutLetters]:
    """Each connection on which a dead letter is written is cut before that arrives, until the end."""
    letters, over, links = CutLetters(), threading.Event(), _to_kafka(bench)
    with ExitStack() as stack, ThreadPoolExecutor(len(links)) as pool:
        first = [stack.enter_context(_trap(bench, link)) for link in links]
        bench.arena.tell("kafka", "what goes to the dead-letter topic is cut off")
        cutting = [
            pool.submit(_cut_on, bench, link, trap, letters, over)
            for link, trap in zip(links, first, strict=True)
        ]
        try:
            yield letters
        finally:
            letters.until = bench.arena.clock()
            over.set()
        for one in cutting:
            one.result()
    bench.arena.tell("kafka", f"the dead-letter topic can be written again, after {letters.cuts} cuts")


def _cut_on(bench: Bench, link: Any, trap: Trap[Message], letters: CutLetters, over: threading.Event) -> None:
    with ExitStack() as stack:
        while not over.wait(0.02):
            if trap.caught.is_set():
                # The next is laid before this one lets go, so that nothing slips through.
                following = stack.enter_context(_trap(bench, link))
                trap.cut()
                letters.cuts += 1
                trap = following


def _to_kafka(bench: Bench) -> list[Any]:
    """Every process's link: whoever writes dead letters."""
    return [link for (_, kind), link in bench.arena.links.items() if kind == "kafka"]


def _trap(bench: Bench, link: Any) -> AbstractContextManager[Trap[Message]]:
    topic = bench.topics.dead.name
    return link.trap(
        lambda message: message.api == "Produce" and topic in message.topics, way=Way.THERE, most=ALL_OF_THEM
    )
