"""Workers that come and go under load, as the seed has it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .jobs import Job
from .sink import Answer, Delivered

if TYPE_CHECKING:
    from .bench import Bench

KEYS = 16
EVERY_S = 0.02
FAILS_OF_100 = 8
# Between an answer of the sink and its booking lies no more, on a machine however busy.
BOOKED_WITHIN_S = 4.0


@dataclass(frozen=True)
class Blow:
    """Something done to a worker at a time; `extra` deliveries more it may cost a job in flight."""

    worker: str
    at: float
    extra: int


@dataclass
class Storm:
    """What was written, key by key in the order of the topic, and what was done to the workers."""

    jobs: dict[str, list[Job]] = field(default_factory=dict)
    blows: list[Blow] = field(default_factory=list)

    @property
    def all(self) -> list[Job]:
        return [job for jobs in self.jobs.values() for job in jobs]

    def allowed(self, deliveries: Sequence[Delivered]) -> dict[str, int]:
        """Job -> successful deliveries more than one that the blows explain."""
        extra: dict[str, int] = {}
        for job_id, blow in {(str(each.job_id), blow) for each in deliveries for blow in self._felt(each)}:
            extra[job_id] = extra.get(job_id, 0) + blow.extra
        return extra

    def _felt(self, delivered: Delivered) -> list[Blow]:
        """The blows that found a delivery in flight, or not booked yet, or about to be sent."""
        return [
            blow
            for blow in self.blows
            if blow.worker == delivered.process
            and delivered.at <= blow.at + BOOKED_WITHIN_S
            and delivered.answered >= blow.at - BOOKED_WITHIN_S
        ]


def storm(bench: Bench) -> Storm:
    """Write jobs all the while one worker is killed, one stopped and one frozen, and they come back."""
    made, over = Storm(), threading.Event()
    keys = [bench.fresh_key("storm") for _ in range(KEYS)]
    for key in keys:
        chances = [(bench.chance.randrange(100), bench.chance.random()) for _ in range(64)]
        bench.sink.follow(key, _moods(chances))
    choices = [bench.chance.randrange(KEYS) for _ in range(1000)]
    writing = threading.Thread(target=_write, args=(bench, made, [keys[one] for one in choices], over))
    blows = [_killed, _stopped, _frozen]
    bench.chance.shuffle(blows)
    order = bench.chance.sample(bench.workers, len(bench.workers))
    pauses = [0.3 + 0.7 * bench.chance.random() for _ in blows]
    writing.start()
    try:
        for blow, worker, pause in zip(blows, order, pauses, strict=True):
            bench.arena.sleep(pause)
            blow(bench, made, worker, pause)
    finally:
        over.set()
        writing.join()
    return made


def _moods(chances: Sequence[tuple[int, float]]) -> Callable[[int], Answer]:
    def answer(number: int) -> Answer:
        luck, slow = chances[number % len(chances)]
        fails = number == 0 and luck < FAILS_OF_100
        return Answer(503 if fails else 200, after_s=0.05 * slow)

    return answer


def _write(bench: Bench, made: Storm, keys: Sequence[str], over: threading.Event) -> None:
    for key in keys:
        if over.wait(EVERY_S):
            return
        (job,) = bench.write(bench.new_job(key))
        made.jobs.setdefault(key, []).append(job)


def _killed(bench: Bench, made: Storm, worker: str, pause: float) -> None:
    made.blows.append(Blow(worker, bench.arena.clock(), extra=1))
    bench.arena.kill(worker)
    bench.arena.sleep(pause)
    bench.arena.start(worker)


def _stopped(bench: Bench, made: Storm, worker: str, pause: float) -> None:  # noqa: ARG001 - one of three
    bench.arena.terminate(worker)
    bench.arena.sleep(pause)
    bench.arena.start(worker)


def _frozen(bench: Bench, made: Storm, worker: str, pause: float) -> None:
    made.blows.append(Blow(worker, bench.arena.clock(), extra=2))
    bench.arena.pause(worker)
    bench.arena.sleep(bench.session_s + 0.5 + pause)
    made.blows.append(Blow(worker, bench.arena.clock(), extra=1))
    bench.arena.resume(worker)
