"""The course of one record: attempts at its job, one after another, until it has ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from app.attempts import Attempts, Begun, Holding, NotBegun
from app.database import DatabaseUnavailable
from app.deadletters import DeadLetters, Record
from app.jobs import InvalidJob, Job, parse_record
from app.sink import Sink

logger = logging.getLogger(__name__)

T = TypeVar("T")
# How often to ask again about an attempt that others make, or that is not due.
LEAST_WAIT_S, LOOK_AGAIN_S = 0.01, 0.1
SEND_WITHIN_S = 2.0
DATABASE_PAUSE_S = 0.3


class GivenUp(Exception):
    """The partition is not ours any more, or we are stopping: the record is left to whoever reads it next."""


@dataclass(frozen=True)
class Tools:
    """What every course works with; `slots` are what deliveries run in, whoever waits has none."""

    attempts: Attempts
    sink: Sink
    letters: DeadLetters
    slots: asyncio.Semaphore
    max_attempts: int
    backoff_s: float


class Course:
    """`run` returns when the record has ended, and raises GivenUp instead of beginning anything in vain."""

    def __init__(self, tools: Tools, record: Record, *, holding: Holding, given_up: asyncio.Event) -> None:
        self._tools = tools
        self._record = record
        self._holding = holding
        self._given_up = given_up

    async def run(self) -> None:
        try:
            job = parse_record(self._record.value)
        except InvalidJob as error:
            await self._tools.letters.write(self._record, error=str(error), attempts=0)
            return
        while (stand := await self._next(job)) is not None:
            if stand.hopeless:
                await self._tools.letters.write(self._record, error=stand.error, attempts=stand.attempts)
                await self._persist(lambda: self._tools.attempts.bury(job))
                return
            await self._wait(stand.closed_s)

    async def _next(self, job: Job) -> NotBegun | None:
        """Make an attempt if one may begin: how the job stands then, or None if it has ended."""
        async with self._tools.slots:
            self._leave_if_given_up()
            asked_at = time.monotonic()
            begun = await self._persist(lambda: self._tools.attempts.begin(job, holding=self._holding))
            if isinstance(begun, NotBegun):
                closed_s = min(max(begun.closed_s, LEAST_WAIT_S), LOOK_AGAIN_S)
                return None if begun.has_ended else replace(begun, closed_s=closed_s)
            if time.monotonic() - asked_at > SEND_WITHIN_S:
                # We were frozen, or the machine is slow: what is sent now cannot be booked in time.
                await self._persist(lambda: self._tools.attempts.withdraw(job, begun))
                return NotBegun(has_ended=False)
            return await self._attempt(job, begun)

    async def _attempt(self, job: Job, begun: Begun) -> NotBegun | None:
        attempts, number = self._tools.attempts, begun.earlier + 1
        answer = await self._tools.sink.deliver(job, attempt=number)
        if answer.error is None:
            booked = await self._persist(lambda: attempts.succeed(job, begun))
            return None if booked else NotBegun(has_ended=False)
        error, wait_s = answer.error, None
        if not answer.final and number < self._tools.max_attempts:
            wait_s = float(self._tools.backoff_s * 2 ** (number - 1))
        booked = await self._persist(lambda: attempts.fail(job, begun, error=error, wait_s=wait_s))
        if booked and wait_s is None:
            return NotBegun(has_ended=False, hopeless=True, attempts=number, error=error)
        return NotBegun(has_ended=False, closed_s=wait_s or 0.0)

    async def _persist(self, action: Callable[[], Awaitable[T]]) -> T:
        """Tried until it is done: what the sink has answered must not be forgotten while Postgres is away."""
        while True:
            try:
                return await action()
            except DatabaseUnavailable as error:
                logger.warning("Postgres does not answer: %s", error)
                await asyncio.sleep(DATABASE_PAUSE_S)

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._given_up.wait(), seconds)
        except TimeoutError:
            return
        raise GivenUp

    def _leave_if_given_up(self) -> None:
        if self._given_up.is_set():
            raise GivenUp
