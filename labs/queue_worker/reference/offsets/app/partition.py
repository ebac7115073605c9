"""A partition for as long as this worker holds it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress

from app.attempts import Holding
from app.course import Course, GivenUp, Tools
from app.deadletters import Record

logger = logging.getLogger(__name__)

AFTER_A_BUG_S = 1.0


class Partition:
    """Runs the records of each key one after another, and those of different keys side by side."""

    def __init__(
        self, tools: Tools, holding: Holding, *, next_offset: int | None, committed: int | None
    ) -> None:
        self.holding = holding
        self.saved = committed  # the offset that both Postgres and Kafka have
        self._tools = tools
        self._given_up = asyncio.Event()
        self._waiting: dict[bytes | None, deque[Record]] = {}
        self._runners: set[asyncio.Task[None]] = set()
        self._begun: deque[int] = deque()
        self._ended: set[int] = set()
        self._next = next_offset

    @property
    def next_offset(self) -> int | None:
        """All before it has ended; None if nothing has yet."""
        return self._next

    @property
    def backlog(self) -> int:
        """Records that `next_offset` has not passed."""
        return len(self._begun)

    @property
    def is_running(self) -> bool:
        return bool(self._runners)

    def add(self, record: Record) -> None:
        self._begun.append(record.offset)
        if record.key in self._waiting:
            self._waiting[record.key].append(record)
            return
        self._waiting[record.key] = deque([record])
        runner = asyncio.create_task(self._run(record.key))
        self._runners.add(runner)
        runner.add_done_callback(self._runners.discard)

    def give_up(self) -> None:
        """Begin nothing more. What runs is booked all the same."""
        self._given_up.set()

    async def settled(self, *, within_s: float) -> None:
        """Wait for what runs."""
        if self._runners:
            await asyncio.wait(self._runners, timeout=within_s)

    async def _run(self, key: bytes | None) -> None:
        records = self._waiting[key]
        with suppress(GivenUp):
            while records:
                await self._end(records[0])
                self._note_end(records.popleft().offset)
            del self._waiting[key]

    async def _end(self, record: Record) -> None:
        while True:
            try:
                course = Course(self._tools, record, holding=self.holding, given_up=self._given_up)
                return await course.run()
            except GivenUp:
                raise
            except Exception:
                logger.exception("a record failed; once more in a while")
                await asyncio.sleep(AFTER_A_BUG_S)

    def _note_end(self, offset: int) -> None:
        self._ended.add(offset)
        while self._begun and self._begun[0] in self._ended:
            done = self._begun.popleft()
            self._ended.remove(done)
            self._next = done + 1
