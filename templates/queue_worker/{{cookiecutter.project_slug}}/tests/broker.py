"""Kafka seen from outside: topics made, records written and read, committed offsets looked up.

Each call opens a client of its own and closes it, so that tests need not know of event loops.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError


@dataclass(frozen=True)
class Record:
    """A record as it stands in a topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes]


class Broker:
    """The Kafka at `bootstrap`, host:port."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def wait_ready(self, *, within_s: float = 60) -> None:
        """A container that runs is not yet a broker that answers."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                return asyncio.run(self._list_topics())
            except (KafkaError, OSError):
                assert time.monotonic() < deadline, f"Kafka does not answer within {within_s} s"
                time.sleep(0.5)

    def make_topics(self, *names: str, partitions: int) -> None:
        asyncio.run(self._make_topics(names, partitions))

    def write(self, topic: str, *records: tuple[str, bytes | None], partition: int | None = None) -> None:
        """Append (key, value) one after the other, each where its key belongs unless told otherwise."""
        asyncio.run(self._write(topic, records, partition))

    def write_jobs(self, topic: str, *jobs: tuple[str, str, Mapping[str, Any]], partition: int) -> None:
        """Append jobs, each (id, key, payload), to one partition."""
        values = ({"id": job_id, "key": key, "payload": payload} for job_id, key, payload in jobs)
        records = [(value["key"], json.dumps(value).encode()) for value in values]
        self.write(topic, *records, partition=partition)

    def read(self, topic: str, *, count: int, within_s: float = 10) -> list[Record]:
        """The first `count` records of a topic, or as many as came in time."""
        return asyncio.run(self._read(topic, count, within_s))

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Partition -> the offset at which a worker that starts now would begin, where there is one."""
        return asyncio.run(self._committed(group, topic))

    async def _list_topics(self) -> None:
        async with self._admin() as admin:
            await admin.list_topics()

    async def _make_topics(self, names: Sequence[str], partitions: int) -> None:
        async with self._admin() as admin:
            await admin.create_topics(
                [NewTopic(name, num_partitions=partitions, replication_factor=1) for name in names]
            )

    async def _write(
        self, topic: str, records: Sequence[tuple[str, bytes | None]], partition: int | None
    ) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all") as producer:
            for key, value in records:
                await producer.send_and_wait(topic, value, key=key.encode(), partition=partition)

    async def _read(self, topic: str, count: int, within_s: float) -> list[Record]:
        found: list[Record] = []
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=self.bootstrap, auto_offset_reset="earliest")
        async with consumer:
            try:
                async with asyncio.timeout(within_s):
                    while len(found) < count:
                        one = await consumer.getone()
                        found.append(Record(one.partition, one.offset, one.key, one.value, dict(one.headers)))
            except TimeoutError:
                pass
        return found

    async def _committed(self, group: str, topic: str) -> dict[int, int]:
        """Asked by a consumer that names the group and never joins it."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=group, enable_auto_commit=False
        )
        async with consumer:
            partitions = await self._partitions(topic)
            consumer.assign(partitions)
            offsets = {place.partition: await consumer.committed(place) for place in partitions}
        return {partition: offset for partition, offset in offsets.items() if offset is not None}

    async def _partitions(self, topic: str) -> list[TopicPartition]:
        async with self._admin() as admin:
            [described] = await admin.describe_topics([topic])
        return [TopicPartition(topic, one["partition"]) for one in described["partitions"]]

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()
