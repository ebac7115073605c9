"""A worker: reads the topic and gives each partition's records to the worker of that partition."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from app import sink, table
from app.deadletters import DeadLetters, Record
from app.delivery import Delivery, Retries
from app.partition import PartitionWorker
from app.producer import KafkaWriter
from app.settings import Settings
from app.sink import Sink
from app.table import Table

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
POLL_S = 0.1
MOST_AT_ONCE = 500
# A partition with so many records at work is read no further for the time being.
PAUSE_AT, RESUME_AT = 4000, 2000
# How long a rebalance, or SIGTERM, waits for deliveries that run: 2 s each, and their booking.
HANDOVER_S, DRAIN_S = 3.0, 5.0
LETTER_S = 3.0


class Worker:
    """librdkafka lives on a thread of its own, rebalances included; all else happens on the event loop."""

    def __init__(self, settings: Settings, delivery: Delivery) -> None:
        self._delivery = delivery
        self._topic = settings.topic
        self._partitions: dict[int, PartitionWorker] = {}
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "kafka")
        self._consumer = Consumer(_options(settings))
        self._consumer.subscribe(
            [settings.topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    async def run(self, stopped: asyncio.Event) -> None:
        while not stopped.is_set():
            for message in await self._on_thread(self._read):
                self._take(message)
            await self._on_thread(self._keep_up)

    async def stop(self) -> None:
        """Finish what runs, commit it, and leave the group, so that others need not wait for our session."""
        await self._stop_partitions(list(self._partitions), within_s=DRAIN_S)
        await self._on_thread(self._store)
        self._partitions.clear()
        await self._on_thread(self._consumer.close)

    async def _on_thread(self, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._loop.run_in_executor(self._thread, lambda: action(*args, **kwargs))

    def _read(self) -> Sequence[Message]:
        first = self._consumer.poll(POLL_S)
        if first is None:
            return []
        return [first, *self._consumer.consume(MOST_AT_ONCE, 0)]

    def _take(self, message: Message) -> None:
        if error := message.error():
            logger.warning("Kafka fails: %s", error)
            return
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        if worker := self._partitions.get(partition):
            worker.take(Record(offset, _bytes(message.key()), _bytes(message.value())))

    def _keep_up(self) -> None:
        """Pause partitions that have enough to do, resume others, and say what may be committed."""
        for number, worker in list(self._partitions.items()):
            partition = TopicPartition(self._topic, number)
            if not worker.paused and worker.open >= PAUSE_AT:
                worker.paused = True
                self._consumer.pause([partition])
            elif worker.paused and worker.open < RESUME_AT:
                worker.paused = False
                self._consumer.resume([partition])
        self._store()

    def _store(self) -> None:
        """librdkafka commits what is stored: every now and then, when partitions are revoked, at the end."""
        for number, worker in list(self._partitions.items()):
            if (position := worker.position) is not None:
                # Refused if the partition was lost in this moment.
                with suppress(KafkaException):
                    self._consumer.store_offsets(offsets=[TopicPartition(self._topic, number, position)])

    # What follows is called by librdkafka, inside `poll` and `close`, on the thread.

    def _assigned(self, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        numbers = [partition.partition for partition in partitions]
        self._on_loop(self._start_partitions(numbers))

    def _revoked(self, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """The next owner would have to wait for what runs: let it be ended and committed first."""
        numbers = [partition.partition for partition in partitions]
        self._on_loop(self._stop_partitions(numbers, within_s=HANDOVER_S))
        self._store()
        self._forget(numbers)

    def _lost(self, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """They are others' already."""
        numbers = [partition.partition for partition in partitions]
        self._on_loop(self._stop_partitions(numbers, within_s=0.0))
        self._forget(numbers)

    def _on_loop(self, action: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(action, self._loop).result()

    def _forget(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._partitions.pop(number, None)

    async def _start_partitions(self, numbers: Sequence[int]) -> None:
        self._partitions.update({number: PartitionWorker(self._delivery) for number in numbers})

    async def _stop_partitions(self, numbers: Sequence[int], *, within_s: float) -> None:
        workers = [self._partitions[number] for number in numbers if number in self._partitions]
        await asyncio.gather(*(worker.stop(within_s=within_s) for worker in workers))


def _options(settings: Settings) -> dict[str, str | int | bool]:
    return {
        "bootstrap.servers": settings.kafka,
        "group.id": settings.group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": True,
        "enable.auto.offset.store": False,
        "auto.commit.interval.ms": 200,
        "session.timeout.ms": settings.session_timeout_ms,
        "heartbeat.interval.ms": max(settings.session_timeout_ms // 5, 1),
        "fetch.wait.max.ms": 100,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 500,
        "log_level": 4,
    }


def _bytes(part: bytes | str | None) -> bytes | None:
    return part.encode() if isinstance(part, str) else part


def work() -> None:
    """Run a worker until SIGTERM."""
    asyncio.run(_work(Settings.from_env()))


async def _work(settings: Settings) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with (
        table.connect(settings.database_url, size=settings.concurrency + 2) as pool,
        sink.connect() as http,
        KafkaWriter(settings.kafka, within_s=LETTER_S) as writer,
    ):
        delivery = Delivery(
            *(Table(pool), Sink(http, settings.sink_url)),
            DeadLetters(writer, topic=settings.dead_letter_topic),
            retries=Retries(settings.max_attempts, settings.backoff_s),
            slots=asyncio.Semaphore(settings.concurrency),
        )
        worker = Worker(settings, delivery)
        await worker.run(stopped)
        await worker.stop()
