"""What is done with one record, from reading it to its end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from app.deadletters import DeadLetters, Record
from app.jobs import InvalidJob, Job, parse_record
from app.sink import Answer, Sink
from app.table import Booking, Permission, Refusal, Table, TableUnavailable

logger = logging.getLogger(__name__)

T = TypeVar("T")
LOOK_AGAIN_S = 0.1
SEND_WITHIN_S = 2.0
TABLE_PAUSE_S = 0.3


@dataclass(frozen=True)
class Retries:
    """At most `attempts` deliveries, the second `backoff_s` after the first, then twice as long each time."""

    attempts: int
    backoff_s: float

    def wait_s(self, attempt: int) -> float:
        """The wait after that attempt."""
        return float(self.backoff_s * 2 ** (attempt - 1))


class Stopping(Exception):
    """The record is left to whoever reads it next."""


class Delivery:
    """Ends records. `slots` are what deliveries run in; whoever waits has none."""

    def __init__(
        self,
        table: Table,
        sink: Sink,
        letters: DeadLetters,
        *,
        retries: Retries,
        slots: asyncio.Semaphore,
    ) -> None:
        self._table = table
        self._sink = sink
        self._letters = letters
        self._retries = retries
        self._slots = slots

    async def end(self, record: Record, *, stopping: asyncio.Event) -> None:
        """Returns when the record has ended: delivered, dead, or seen to by another record of its id.

        Raises Stopping instead of beginning anything once `stopping` is set.
        """
        try:
            job = parse_record(record.value)
        except InvalidJob as error:
            await self._letters.write(record, error=str(error), attempts=0)
            return
        while True:
            if stopping.is_set():
                raise Stopping
            last = await self._attempt(job, stopping=stopping)
            if last.state in ("succeeded", "dead"):
                return
            if last.state == "doomed":
                await self._letters.write(record, error=last.error or "", attempts=last.attempts)
                await self._table_does(lambda: self._table.bury(job))
                return
            await _wait(last.wait_s, stopping)

    async def _attempt(self, job: Job, *, stopping: asyncio.Event) -> Booking:
        """Deliver once if that is permitted; how the job stands then, and when to look again."""
        async with self._slots:
            if stopping.is_set():
                raise Stopping
            asked_at = time.monotonic()
            permission = await self._table_does(lambda: self._table.permit(job))
            if isinstance(permission, Refusal):
                wait_s = min(max(permission.closed_s, 0.0), LOOK_AGAIN_S)
                return Booking(permission.state, permission.attempts, permission.error, wait_s)
            if time.monotonic() - asked_at > SEND_WITHIN_S:
                return await self._give_back(job, permission)
            answer = await self._sink.deliver(job, attempt=permission.attempts + 1)
            return await self._book(job, permission, answer)

    async def _give_back(self, job: Job, permission: Permission) -> Booking:
        """We were frozen, or the machine is slow: what is sent now cannot be booked in time."""
        untried = Booking("running", permission.attempts)
        await self._table_does(lambda: self._table.book(job, fence=permission.fence, booking=untried))
        return untried

    async def _book(self, job: Job, permission: Permission, answer: Answer) -> Booking:
        """Tried until it is done: what the sink has answered must not be forgotten while Postgres is away."""
        booking = self._booking(permission.attempts + 1, answer)
        if await self._table_does(lambda: self._table.book(job, fence=permission.fence, booking=booking)):
            return booking
        return Booking("running", permission.attempts)  # another has it: see what becomes of it

    def _booking(self, attempt: int, answer: Answer) -> Booking:
        if answer.error is None:
            return Booking("succeeded", attempt)
        if answer.final or attempt >= self._retries.attempts:
            return Booking("doomed", attempt, answer.error)
        return Booking("running", attempt, answer.error, self._retries.wait_s(attempt))

    async def _table_does(self, action: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await action()
            except TableUnavailable as error:
                logger.warning("Postgres does not answer: %s", error)
                await asyncio.sleep(TABLE_PAUSE_S)


async def _wait(seconds: float, stopping: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return
