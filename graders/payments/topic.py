"""The topic of events, as a consumer sees it."""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from labkit import unread

PARTITIONS = 4
# The embedded broker looks for records no more often than a fetch waits.
FETCH_WAITS_MS = 20
CALL_WITHIN_MS = 2000
READ_WITHIN_S = 3.0


@dataclass(frozen=True)
class Record:
    """One record of the topic; `value` is None where it is no JSON object."""

    partition: int
    offset: int
    key: str | None
    data: bytes
    value: Mapping[str, Any] | None

    def told(self, name: str) -> Any:
        return None if self.value is None else self.value.get(name)


class Topic:
    """One arena's topic, and all that has come to it since the arena was opened."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self.name = name
        self._bootstrap = bootstrap
        self._next = dict.fromkeys((TopicPartition(name, number) for number in range(PARTITIONS)), 0)
        self._records: list[Record] = []
        self._reads = 0
        self._lock = threading.Lock()

    def make(self) -> None:
        """Create it. A broker of somebody's own may have it; what is in it then is not looked at."""
        with closing(KafkaAdminClient(bootstrap_servers=self._bootstrap)) as admin:
            wanted = NewTopic(self.name, num_partitions=PARTITIONS, replication_factor=1)
            try:
                admin.create_topics([wanted])
            except TopicAlreadyExistsError:
                with self._consumer() as consumer:
                    self._next |= consumer.end_offsets(list(self._next))

    def records(self) -> list[Record]:
        """All that has come by now, each partition in its order. None of it new while Kafka is away."""
        begun = self._reads
        with self._lock:
            # Whoever has waited for a read that began after the call has what it would read.
            if self._reads == begun:
                self._read()
            return list(self._records)

    def is_readable(self) -> bool:
        """Whether the broker answers the grader."""
        try:
            with self._consumer() as consumer:
                return bool(consumer.partitions_for_topic(self.name))
        except (KafkaError, OSError):
            return False

    def _read(self) -> None:
        self._reads += 1
        with contextlib.suppress(KafkaError, OSError), self._consumer() as consumer:
            for record in unread(consumer, self._next, within_s=READ_WITHIN_S):
                self._records.append(_record(record))

    def _consumer(self) -> closing[KafkaConsumer]:
        return closing(
            KafkaConsumer(
                bootstrap_servers=self._bootstrap,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                fetch_max_wait_ms=FETCH_WAITS_MS,
                bootstrap_timeout_ms=CALL_WITHIN_MS,
                request_timeout_ms=CALL_WITHIN_MS,
                reconnect_backoff_max_ms=100,
            )
        )


def topic_for(name: str) -> Callable[[Mapping[str, Any], random.Random], Topic]:
    """What makes the topic of an arena before its processes start."""

    def make(services: Mapping[str, Any], _: random.Random) -> Topic:
        topic = Topic(services["kafka"].bootstrap, name)
        topic.make()
        return topic

    return make


def _record(record: Any) -> Record:
    data = record.value or b""
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    return Record(
        partition=record.partition,
        offset=record.offset,
        key=None if record.key is None else record.key.decode("utf-8", "replace"),
        data=data,
        value=value if isinstance(value, dict) else None,
    )
