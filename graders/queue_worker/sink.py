"""The sink: where jobs are delivered. It answers by script and keeps every delivery."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labkit import Call, EvidenceRow, Gate, Loop, Reply
from labkit.history import Answered, Delivery

from .values import load, said

# Longer than any check waits for what follows.
NEVER_S = 120.0
# The time-out of 2 s began before the delivery had come.
HEARD_WITHIN_S = 1.5


@dataclass(frozen=True)
class Answer:
    """What the sink does with a delivery: waits, then answers, or cuts the connection for None."""

    status: int | None = 200
    after_s: float = 0.0
    gate: Gate | None = None


CUT = Answer(None)
SILENCE = Answer(None, after_s=NEVER_S)


@dataclass(eq=False)
class Delivered:
    """A call at the sink.

    at        when all of it had arrived; seconds on the grading's clock
    number    how many deliveries of that job had come before
    answered  just before its answer was given
    status    of the answer; None for none
    """

    at: float
    process: str
    number: int
    method: str
    headers: Mapping[str, str]
    body: Any
    answered: float = math.inf
    status: int | None = None
    answer: Answer = field(default_factory=Answer)

    @property
    def job_id(self) -> Any:
        return self.body.get("job_id") if isinstance(self.body, dict) else None

    @property
    def key(self) -> Any:
        return self.body.get("key") if isinstance(self.body, dict) else None

    @property
    def attempt(self) -> Any:
        return self.body.get("attempt") if isinstance(self.body, dict) else None

    @property
    def open(self) -> bool:
        """Whether it still waits for its answer."""
        return math.isinf(self.answered)

    @property
    def kind(self) -> Answered:
        if self.status is not None and 200 <= self.status < 300:
            return Answered.SUCCESS
        return Answered.REFUSAL if self.status is not None and self.status < 500 else Answered.FAILURE

    @property
    def as_delivery(self) -> Delivery:
        """For the laws; what is still open may turn out to be anything, and has not ended its job."""
        kind = Answered.FAILURE if self.open else self.kind
        return Delivery(str(self.job_id), self.at, self.answered, kind, self.process, self)

    @property
    def surely_heard(self) -> bool:
        """Whether its answer came long before the worker may have given it up."""
        return self.answered - self.at < HEARD_WITHIN_S


Script = Callable[[int], Answer]


class Sink:
    """Answers deliveries, each key's by its script, others with 200.

    Callable from any thread, except for `answer`, which the kit's loop calls.
    """

    def __init__(self, loop: Loop, clock: Callable[[], float]) -> None:
        self.all: list[Delivered] = []
        self._loop = loop
        self._clock = clock
        self._answered = 0
        self._lock = threading.Lock()
        self._scripts: dict[str, Script] = {}
        self._counts: dict[str, int] = {}

    def script(self, key: str, *answers: Answer | int, rest: Answer | int = 200) -> None:
        """Each job of that key, or the one of that id, gets these answers one after another, then `rest`."""
        listed = [_answer(one) for one in answers]
        self._scripts[key] = lambda number: listed[number] if number < len(listed) else _answer(rest)

    def follow(self, key: str, script: Script) -> None:
        """Each job of that key gets the answers that a function of the delivery's number tells."""
        self._scripts[key] = script

    @property
    def progress(self) -> int:
        """Grows with each delivery that comes, and with each that is answered."""
        return len(self.all) + self._answered

    def gate(self) -> Gate:
        """A gate for answers, shut."""
        return Gate(self._loop)

    def of(self, job_id: str) -> list[Delivered]:
        """A job's deliveries so far."""
        return [delivered for delivered in list(self.all) if delivered.job_id == job_id]

    def of_keys(self, keys: Sequence[str]) -> list[Delivered]:
        wanted = set(keys)
        return [delivered for delivered in list(self.all) if delivered.key in wanted]

    async def answer(self, call: Call) -> Reply | None:
        delivered = self._arrived(call)
        answer = delivered.answer
        if answer.after_s:
            await asyncio.sleep(answer.after_s)
        if answer.gate is not None:
            await answer.gate.passed()
        status = None if call.gone() else answer.status
        delivered.answered, delivered.status = self._clock(), status
        self._answered += 1
        return None if status is None else Reply(status, b"{}")

    def _arrived(self, call: Call) -> Delivered:
        body = load(call.body)
        job_id = str(body.get("job_id")) if isinstance(body, dict) else ""
        key = body.get("key") if isinstance(body, dict) else None
        with self._lock:
            number = self._counts.get(job_id, 0)
            self._counts[job_id] = number + 1
            script = self._scripts.get(job_id) or self._scripts.get(str(key), _well)
            delivered = Delivered(
                call.at, call.process, number, call.method, call.headers, body, answer=script(number)
            )
            self.all.append(delivered)
        return delivered


def _well(_: int) -> Answer:
    return Answer()


def _answer(answer: Answer | int) -> Answer:
    return Answer(answer) if isinstance(answer, int) else answer


def rows_of_deliveries(deliveries: Sequence[Delivered], mark: Delivered | None = None) -> list[EvidenceRow]:
    """One row a delivery, as its evidence."""
    return [
        EvidenceRow(
            at=round(each.at, 3),
            who=each.process,
            what=f"delivers {said(each.job_id)} (key {said(each.key)}), attempt {said(each.attempt)}",
            answer=_told(each),
            mark=each is mark,
        )
        for each in deliveries
    ]


def _told(delivered: Delivered) -> str:
    if delivered.open:
        return "not answered yet"
    answer = "cut off" if delivered.status is None else str(delivered.status)
    took = delivered.answered - delivered.at
    return f"{answer} after {took:.2f} s" if took > 0.05 else answer
