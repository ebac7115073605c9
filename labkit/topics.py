"""A topic of Kafka's, as a grader reads it."""

from __future__ import annotations

import time
from collections.abc import Iterator, MutableMapping
from typing import Any

_POLL_MS = 50


def unread(consumer: Any, offsets: MutableMapping[Any, int], *, within_s: float) -> Iterator[Any]:
    """Records from these offsets to the ends of their partitions, each partition in its order.

    `consumer` is a KafkaConsumer of no group that knows no end from before, `offsets` go on with what is
    given. An empty poll is no end: it may only mean that no answer has come yet. Raises TimeoutError.
    """
    consumer.assign(list(offsets))
    for partition, offset in offsets.items():
        consumer.seek(partition, offset)
    deadline = time.monotonic() + within_s
    while not all(_is_read(consumer, partition) for partition in offsets):
        if time.monotonic() > deadline:
            raise TimeoutError("not read to its end in time")
        for partition, records in consumer.poll(timeout_ms=_POLL_MS).items():
            yield from records
            offsets[partition] = records[-1].offset + 1


def _is_read(consumer: Any, partition: Any) -> bool:
    end = consumer.highwater(partition)
    return end is not None and bool(consumer.position(partition) >= end)
