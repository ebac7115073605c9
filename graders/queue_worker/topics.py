"""Kafka as the grader sees it, past every link: what lies in the topics, what is committed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, TopicAlreadyExistsError
from kafka.structs import OffsetAndMetadata

from labkit import Inconclusive, unread
from labkit.history import Sample

PARTITIONS = 4
_WRITTEN_WITHIN_S = 10.0
_SAMPLE_EVERY_S = 0.03
# A sample that is not answered in time is left out; for anything else a busy broker gets longer.
_SAMPLED_WITHIN_MS, _ANSWER_WITHIN_MS = 2000, 20_000
_READ_WITHIN_S = 15.0


@dataclass(frozen=True)
class Record:
    """A record as it lies in a topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Topic:
    """All records of one topic, read again and again."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self.name = name
        self._bootstrap = bootstrap
        self._records: list[Record] = []
        self._next = dict.fromkeys((TopicPartition(name, number) for number in range(PARTITIONS)), 0)
        self._lock = threading.Lock()

    def read(self) -> list[Record]:
        """What lies in it by now, in the order of each partition. Raises Inconclusive."""
        with self._lock:
            try:
                self._read_on()
            except (KafkaError, OSError) as error:
                raise Inconclusive(f"the topic {self.name} could not be read: {error!r}") from error
            return list(self._records)

    def _read_on(self) -> None:
        with closing(self._consumer()) as consumer:
            for message in unread(consumer, self._next, within_s=_READ_WITHIN_S):
                self._records.append(_record(message))

    def _consumer(self) -> Any:
        return KafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=None,
            enable_auto_commit=False,
            fetch_max_wait_ms=10,
            metrics_enabled=False,
        )


def _record(message: Any) -> Record:
    headers = tuple((name, bytes(value or b"")) for name, value in message.headers or ())
    return Record(message.partition, message.offset, message.key, message.value, headers)


class Topics:
    """The topics and the group of one arena. `samples` are those of what the group has committed."""

    def __init__(self, kafka: Any, *, jobs: str, dead: str, group: str) -> None:
        self.jobs = Topic(kafka.bootstrap, jobs)
        self.dead = Topic(kafka.bootstrap, dead)
        self.group = group
        self.stands_in = kafka.mend is not None
        self.samples: list[Sample] = []
        self._kafka = kafka
        self._producer: Any = None
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._sampling: threading.Thread | None = None

    def create(self) -> None:
        """Make both topics, and wait until they can be written and read."""
        wanted = {topic.name: {"num_partitions": PARTITIONS} for topic in (self.jobs, self.dead)}
        admin = self._admin()
        try:
            with suppress(TopicAlreadyExistsError):
                admin.create_topics(wanted, wait_for_metadata=True)
        except (KafkaError, OSError) as error:
            raise Inconclusive(f"the topics could not be made: {error!r}") from error
        finally:
            admin.close()

    def write(self, records: Iterable[tuple[int, bytes | None, bytes | None]]) -> list[Record]:
        """Write (partition, key, value); the records with their offsets. Raises Inconclusive."""
        with self._lock:
            if self._producer is None:
                self._producer = KafkaProducer(
                    bootstrap_servers=self._kafka.bootstrap, acks="all", linger_ms=0
                )
            try:
                sent = [
                    (
                        partition,
                        key,
                        value,
                        self._producer.send(self.jobs.name, value, key, partition=partition),
                    )
                    for partition, key, value in records
                ]
                self._producer.flush(_WRITTEN_WITHIN_S)
                return [
                    Record(partition, future.get(_WRITTEN_WITHIN_S).offset, key, value)
                    for partition, key, value, future in sent
                ]
            except (KafkaError, OSError) as error:
                raise Inconclusive(f"the grader could not write to {self.jobs.name}: {error!r}") from error

    def committed(self) -> Mapping[int, int]:
        """What the group has committed now. Raises Inconclusive."""
        admin = self._admin()
        try:
            return self._asked(admin)
        except (KafkaError, OSError) as error:
            raise Inconclusive(f"the group's offsets could not be read: {error!r}") from error
        finally:
            admin.close()

    def move_to(self, group: str) -> None:
        """Have a new group begin where the old one is. Raises Inconclusive."""
        offsets = {
            TopicPartition(self.jobs.name, partition): OffsetAndMetadata(offset, "", -1)
            for partition, offset in self.committed().items()
        }
        admin = self._admin()
        try:
            if offsets:
                admin.alter_group_offsets(group, offsets)
        except (KafkaError, OSError) as error:
            raise Inconclusive(f"the new group could not be set up: {error!r}") from error
        finally:
            admin.close()
        self.group = group

    def watch(self, clock: Callable[[], float]) -> None:
        """Sample what is committed from now on, until `close`; again does nothing."""
        with self._lock:
            if self._sampling is None:
                self._sampling = threading.Thread(target=self._sample, args=(clock,), daemon=True)
                self._sampling.start()

    def close(self) -> None:
        self._closing.set()
        if self._sampling is not None:
            self._sampling.join(timeout=5)
        if self._producer is not None:
            with suppress(KafkaError, OSError):
                self._producer.close(timeout=0.5)

    def _sample(self, clock: Callable[[], float]) -> None:
        admin: Any = None
        while not self._closing.wait(_SAMPLE_EVERY_S):
            try:
                admin = admin or self._admin(within_ms=_SAMPLED_WITHIN_MS)
                sent = clock()
                committed = self._asked(admin)
                self.samples.append(Sample(sent, clock(), committed, self.group))
            except (KafkaError, OSError):  # it is paused, or gone for a while
                time.sleep(_SAMPLE_EVERY_S)
        if admin is not None:
            with suppress(KafkaError, OSError):
                admin.close()

    def _asked(self, admin: Any) -> Mapping[int, int]:
        found = admin.list_group_offsets(self.group).get(self.group, {})
        return {
            part.partition: entry.offset
            for part, entry in found.items()
            if part.topic == self.jobs.name and entry.offset >= 0
        }

    def _admin(self, *, within_ms: int = _ANSWER_WITHIN_MS) -> Any:
        return KafkaAdminClient(
            bootstrap_servers=self._kafka.bootstrap,
            request_timeout_ms=within_ms,
            bootstrap_timeout_ms=within_ms,
            reconnect_backoff_ms=5,
            reconnect_backoff_max_ms=50,
        )


def ends_of(records: Iterable[Record]) -> dict[int, int]:
    """Partition -> the offset after its last record, for partitions that have any."""
    ends: dict[int, int] = {}
    for record in records:
        ends[record.partition] = max(ends.get(record.partition, 0), record.offset + 1)
    return ends
