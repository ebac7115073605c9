"""The events on the topic, as any consumer sees them."""

from __future__ import annotations

import json
import time
from types import TracebackType
from typing import Any

from kafka import KafkaConsumer, TopicPartition

ANNOUNCED_WITHIN_S = 10


class Events:
    """All records of one topic from its beginning, without a group: nobody else loses any by it."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
        partitions = self._consumer.partitions_for_topic(topic) or set()
        self._consumer.assign([TopicPartition(topic, partition) for partition in partitions])
        self._consumer.seek_to_beginning()
        self._seen: list[dict[str, Any]] = []

    def __enter__(self) -> Events:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def of(self, payment_id: str, *, at_least: int, within_s: float = ANNOUNCED_WITHIN_S) -> list[Any]:
        """The events of one payment, in their order; waits until there are enough, or for `within_s`."""
        deadline = time.monotonic() + within_s
        while len(found := self._of(payment_id)) < at_least and time.monotonic() < deadline:
            for records in self._consumer.poll(timeout_ms=100).values():
                self._seen += [{"key": record.key, "value": json.loads(record.value)} for record in records]
        return found

    def _of(self, payment_id: str) -> list[Any]:
        return [record["value"] for record in self._seen if record["key"] == payment_id.encode()]
