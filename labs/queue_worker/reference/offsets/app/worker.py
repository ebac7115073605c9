"""A worker: takes the partitions that the group gives it, reads them, and keeps how far they are done."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from app import database, sink
from app.attempts import Attempts
from app.course import Tools
from app.database import DatabaseUnavailable
from app.deadletters import DeadLetters, Record
from app.kafka import KafkaWriter
from app.partition import Partition
from app.reading import Reading
from app.settings import Settings
from app.sink import Sink

logger = logging.getLogger(__name__)

READ_MS = 100
SAVE_EVERY_S = 0.1
PAUSE_S = 0.5
# A partition with so many records at work is read no further for the time being.
PAUSE_AT, RESUME_AT = 4000, 2000
# SIGTERM leaves 8 s: a delivery of 2 s, its booking, the offsets, the farewell.
DRAIN_S, LEAVE_S = 4.5, 2.0


class Worker(ConsumerRebalanceListener):  # type: ignore[misc]
    """The consumer's own position is never trusted: a partition is read from where Postgres says."""

    def __init__(self, consumer: AIOKafkaConsumer, reading: Reading, tools: Tools, *, topic: str) -> None:
        self._consumer = consumer
        self._reading = reading
        self._tools = tools
        self._untaken: set[TopicPartition] = set()
        self._partitions: dict[TopicPartition, Partition] = {}
        self._left: list[Partition] = []
        consumer.subscribe([topic], listener=self)

    # What follows is called by the consumer, before and after each rebalance.

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Given up without waiting: what runs is booked, and nobody repeats it before that."""
        left = [held for partition in revoked if (held := self._partitions.pop(partition, None))]
        for held in left:
            held.give_up()
        self._left = [held for held in [*self._left, *left] if held.is_running]
        self._untaken = set()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Only noted: Postgres may be away just now, and the group does not wait for it."""
        self._untaken = set(assigned)
        self._consumer.pause(*self._untaken)

    async def run(self, stopped: asyncio.Event) -> None:
        saving = asyncio.create_task(self._save_every())
        while not stopped.is_set():
            try:
                await self._take_all()
                self._hold_back()
                batches = await self._consumer.getmany(timeout_ms=READ_MS)
            except (KafkaError, DatabaseUnavailable) as error:
                logger.warning("not read on: %s %s", type(error).__name__, error)
                await asyncio.sleep(PAUSE_S)
                continue
            for partition, messages in batches.items():
                if held := self._partitions.get(partition):
                    for message in messages:
                        held.add(Record(message.offset, message.key, message.value))
        saving.cancel()

    async def stop(self) -> None:
        """Finish what runs, save and commit it, and leave the group, so that others need not wait for us."""
        held = list(self._partitions.values())
        for partition in held:
            partition.give_up()
        await asyncio.gather(*(partition.settled(within_s=DRAIN_S) for partition in [*held, *self._left]))
        try:
            async with asyncio.timeout(LEAVE_S):
                await self._save()
                await self._consumer.stop()
        except (KafkaError, DatabaseUnavailable, TimeoutError) as error:
            logger.warning("left without a farewell: %s %s", type(error).__name__, error)

    async def _take_all(self) -> None:
        untaken = self._untaken
        for partition in list(untaken):
            committed = await self._consumer.committed(partition)
            holding, next_offset = await self._reading.take(partition.partition, committed=committed)
            if self._untaken is not untaken:
                return  # another rebalance came between
            if next_offset is None:
                await self._consumer.seek_to_beginning(partition)
            else:
                self._consumer.seek(partition, next_offset)
            untaken.discard(partition)
            # Whoever held it before may have saved an offset, and then lost its membership before the commit.
            self._partitions[partition] = Partition(
                self._tools, holding, next_offset=next_offset, committed=committed
            )
            self._consumer.resume(partition)

    def _hold_back(self) -> None:
        paused = self._consumer.paused()
        for partition, held in self._partitions.items():
            if partition not in paused and held.backlog >= PAUSE_AT:
                self._consumer.pause(partition)
            elif partition in paused and held.backlog < RESUME_AT:
                self._consumer.resume(partition)

    async def _save_every(self) -> None:
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            try:
                await self._save()
            except (KafkaError, DatabaseUnavailable) as error:
                logger.warning("offsets not saved: %s %s", type(error).__name__, error)
            except Exception:
                # Without this task the worker would go on, and nothing would ever be committed again.
                logger.exception("offsets not saved; once more in a while")
                await asyncio.sleep(PAUSE_S)

    async def _save(self) -> None:
        """To Postgres first, which knows whether the partition is still ours; then to Kafka."""
        moved: dict[TopicPartition, int] = {}
        for partition, held in list(self._partitions.items()):
            offset = held.next_offset
            if offset is None or offset == held.saved:
                continue
            if await self._reading.advance(held.holding, offset):
                moved[partition] = offset
            else:
                held.give_up()
        if moved:
            await self._consumer.commit(moved)
        for partition, offset in moved.items():
            if still_held := self._partitions.get(partition):
                still_held.saved = offset


def work() -> None:
    """Run a worker until SIGTERM."""
    asyncio.run(_work(Settings.from_env()))


async def _work(settings: Settings) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    writer = KafkaWriter(settings.kafka)
    async with (
        database.connect(settings.database_url, size=settings.concurrency + 2) as postgres,
        sink.connect() as http,
    ):
        tools = Tools(
            *(Attempts(postgres), Sink(http, settings.sink_url)),
            DeadLetters(writer, topic=settings.dead_letter_topic),
            asyncio.Semaphore(settings.concurrency),
            max_attempts=settings.max_attempts,
            backoff_s=settings.backoff_s,
        )
        reading = Reading(postgres, group=settings.group, topic=settings.topic)
        if consumer := await _connected(settings, stopped):
            worker = Worker(consumer, reading, tools, topic=settings.topic)
            await worker.run(stopped)
            await worker.stop()
        await writer.close()


async def _connected(settings: Settings, stopped: asyncio.Event) -> AIOKafkaConsumer | None:
    """A consumer as soon as Kafka is there; None if we are stopped first."""
    while not stopped.is_set():
        consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka,
            group_id=settings.group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=max(settings.session_timeout_ms // 5, 1),
            fetch_max_wait_ms=100,
            request_timeout_ms=5000,
            retry_backoff_ms=100,
        )
        try:
            await consumer.start()
        except (KafkaError, OSError) as error:
            logger.warning("Kafka cannot be reached: %s", error)
            await consumer.stop()
            await asyncio.sleep(PAUSE_S)
        else:
            return consumer
    return None
