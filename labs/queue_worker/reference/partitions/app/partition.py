"""One partition for as long as it is ours: its records, in order for each key and side by side for all."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from app.deadletters import Record
from app.delivery import Delivery, Stopping
from app.watermark import Watermark

logger = logging.getLogger(__name__)

AFTER_A_BUG_S = 1.0


class PartitionWorker:
    """Takes records in the partition's order. Each begins when the one before it of its key has ended."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._watermark = Watermark()
        self._last_of: dict[bytes | None, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self.paused = False

    @property
    def position(self) -> int | None:
        """The offset up to which all has ended; None if nothing was read yet."""
        return self._watermark.position

    @property
    def open(self) -> int:
        """Records that have not ended."""
        return self._watermark.open

    def take(self, record: Record) -> None:
        self._watermark.begin(record.offset)
        task = asyncio.create_task(self._run(record, after=self._last_of.get(record.key)))
        self._last_of[record.key] = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self, *, within_s: float) -> None:
        """Begin nothing more, and wait so long for what runs; what runs longer is booked all the same."""
        self._stopping.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)

    async def _run(self, record: Record, *, after: asyncio.Task[None] | None) -> None:
        if after is not None:
            await asyncio.wait([after])
        with suppress(Stopping):
            await self._end(record)
            self._watermark.end(record.offset)
        if self._last_of.get(record.key) is asyncio.current_task():
            del self._last_of[record.key]

    async def _end(self, record: Record) -> None:
        while True:
            try:
                return await self._delivery.end(record, stopping=self._stopping)
            except Stopping:
                raise
            except Exception:
                logger.exception("a record failed; once more in a while")
                await asyncio.sleep(AFTER_A_BUG_S)
