"""Writing to Kafka, whether it is there yet or not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

WITHIN_S = 3.0


class NotWritten(Exception):
    """Kafka did not say in time that it has the record; it may have it all the same."""


class KafkaWriter:
    """Connects when it is first needed. Call `close` in the end."""

    def __init__(self, servers: str) -> None:
        self._servers = servers
        self._starting = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None

    async def write(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Returns when all replicas in sync have the record. Raises NotWritten, within 3 s."""
        try:
            async with asyncio.timeout(WITHIN_S):
                producer = await self._started()
                written = await producer.send(topic, value, key, headers=list(headers))
                await asyncio.shield(written)
        except (KafkaError, OSError) as error:
            raise NotWritten(f"{type(error).__name__}: {error}") from error

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = _new(self._servers)
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def close(self) -> None:
        if self._producer is not None:
            try:
                async with asyncio.timeout(1.0):
                    await self._producer.stop()
            except (KafkaError, TimeoutError):
                return


def _new(servers: str) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=servers,
        acks="all",
        request_timeout_ms=int(WITHIN_S * 1000),
        retry_backoff_ms=100,
        linger_ms=0,
    )
