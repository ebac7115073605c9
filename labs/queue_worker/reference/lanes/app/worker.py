"""A worker: reads the topic, keeps the lanes filled, commits how far they are."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterable
from threading import Event

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

from app.connections import Connections
from app.course import Course, Tools
from app.deadletters import DeadLetters
from app.lanes import Lanes
from app.ledger import Ledger
from app.producing import Producing
from app.settings import Settings
from app.sink import Sink

logger = logging.getLogger(__name__)

POLL_MS = 50
PAUSE_S = 0.5
# A partition with so many records at work is read no further for the time being.
MOST_OPEN, READ_AGAIN_AT = 5000, 2500
# SIGTERM leaves 8 s: a delivery of 2 s, a booking of 2.5 s, the commit, the farewell.
DRAIN_S, COMMIT_MS, LEAVE_MS = 5.0, 1000, 1000


class Assignments(ConsumerRebalanceListener):  # type: ignore[misc]
    """Follows what the group gives to us and takes from us. Called inside `poll`, between two batches.

    Nothing is committed here: the next owner meets what has ended in the ledger, and skips it.
    new  partitions that are ours and not read from their committed offset yet
    """

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self.new: set[TopicPartition] = set()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self.new |= set(assigned)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._lanes.give_up(revoked)
        self.new -= set(revoked)


class Worker:
    def __init__(self, consumer: KafkaConsumer, lanes: Lanes, *, topic: str) -> None:
        self._consumer = consumer
        self._lanes = lanes
        self._assignments = Assignments(lanes)
        self._committed: dict[TopicPartition, int] = {}
        consumer.subscribe([topic], listener=self._assignments)
        self._topic = topic

    def run(self, stopped: Event) -> None:
        while not stopped.is_set():
            try:
                self._read()
                self._hold_back()
                self._commit()
            except KafkaError as error:
                logger.warning("Kafka fails: %s %s", type(error).__name__, error)
                stopped.wait(PAUSE_S)

    def _read(self) -> None:
        # kafka-python joins again when it learns of a topic's partitions, and forgets that if `poll` ends
        # meanwhile: it is in the group then, and has nothing. So it learns of them before it joins.
        if not self._consumer.partitions_for_topic(self._topic):
            time.sleep(PAUSE_S)
            return
        batches = self._consumer.poll(timeout_ms=POLL_MS)
        for partition, records in batches.items():
            if partition not in self._assignments.new:
                self._lanes.add(partition, records)
        for partition in list(self._assignments.new):
            self._begin(partition)

    def _begin(self, partition: TopicPartition) -> None:
        """Read from the committed offset: the consumer keeps its own position over a rebalance, and somebody
        else may have been further meanwhile.
        """
        offset = self._consumer.committed(partition, timeout_ms=COMMIT_MS)
        if offset is None:
            self._consumer.seek_to_beginning(partition)
        else:
            self._consumer.seek(partition, offset)
        self._consumer.resume(partition)
        self._lanes.open(partition)
        self._assignments.new.remove(partition)

    def stop(self) -> None:
        """Finish what runs, commit it, and leave the group, so that others need not wait for our session."""
        self._lanes.close(DRAIN_S)
        try:
            self._commit()
        except KafkaError as error:
            logger.warning("the last commit failed: %s %s", type(error).__name__, error)
        self._consumer.close(autocommit=False, timeout_ms=LEAVE_MS)

    def _commit(self) -> None:
        """Commit what has changed. A commit that comes too late is refused: the partitions are others'."""
        positions = self._lanes.positions()
        changed = {
            partition: OffsetAndMetadata(position, "", -1)
            for partition, position in positions.items()
            if self._committed.get(partition) != position
        }
        if changed:
            self._consumer.commit(changed, timeout_ms=COMMIT_MS)
        self._committed = positions

    def _hold_back(self) -> None:
        for partition in self._consumer.assignment():
            paused = partition in self._consumer.paused()
            if not paused and self._lanes.backlog(partition) >= MOST_OPEN:
                self._consumer.pause(partition)
            elif paused and self._lanes.backlog(partition) < READ_AGAIN_AT:
                self._consumer.resume(partition)


def work() -> None:
    """Run a worker until SIGTERM."""
    stopped = Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    settings = Settings.from_env()
    producing = Producing(settings.kafka)
    letters = DeadLetters(producing, topic=settings.dead_letter_topic)
    connections = Connections(settings.database_url, size=settings.concurrency)
    tools = Tools(
        *(Ledger(connections), Sink(settings.sink_url), letters),
        max_attempts=settings.max_attempts,
        backoff_s=settings.backoff_s,
    )
    lanes = Lanes(
        lambda record: Course(tools, key=record.key, value=record.value), concurrency=settings.concurrency
    )
    if consumer := _connect(settings, stopped):
        worker = Worker(consumer, lanes, topic=settings.topic)
        worker.run(stopped)
        worker.stop()
    letters.close()
    producing.close()


def _connect(settings: Settings, stopped: Event) -> KafkaConsumer | None:
    """A consumer as soon as Kafka is there; None if we are stopped first."""
    while not stopped.is_set():
        try:
            return KafkaConsumer(
                bootstrap_servers=settings.kafka,
                group_id=settings.group,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                session_timeout_ms=settings.session_timeout_ms,
                heartbeat_interval_ms=max(settings.session_timeout_ms // 5, 1),
                fetch_max_wait_ms=100,
                request_timeout_ms=10_000,
                reconnect_backoff_max_ms=500,
                bootstrap_timeout_ms=2000,
                metrics_enabled=False,
            )
        except (KafkaError, OSError) as error:
            logger.warning("Kafka cannot be reached: %s", error)
            time.sleep(PAUSE_S)
    return None
