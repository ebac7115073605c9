"""Writing to Kafka, and knowing that it is written."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer


class NotWritten(Exception):
    """Kafka did not say in time that it has the record; it may have it all the same."""


class KafkaWriter:
    """Open it with `async with`: it serves librdkafka's callbacks meanwhile."""

    def __init__(self, servers: str, *, within_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "acks": "all",
                "message.timeout.ms": int(within_s * 1000),
                "request.timeout.ms": int(within_s * 1000),
                "socket.timeout.ms": max(int(within_s * 1000), 2000),
                "topic.metadata.propagation.max.ms": 1000,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 500,
                "linger.ms": 0,
            }
        )

    async def write(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Raises NotWritten, at the latest when `within_s` has passed."""
        written: asyncio.Future[None] = self._loop.create_future()

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            self._loop.call_soon_threadsafe(_settle, written, error)

        try:
            self._producer.produce(topic, value, key, headers=list(headers), on_delivery=on_delivery)
        except (KafkaException, BufferError) as error:
            raise NotWritten(str(error)) from error
        await written

    async def __aenter__(self) -> KafkaWriter:
        self._polling = asyncio.create_task(self._poll())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._polling.cancel()
        await asyncio.to_thread(self._producer.flush, 0.5)

    async def _poll(self) -> None:
        while True:
            await asyncio.to_thread(self._producer.poll, 0.1)


def _settle(written: asyncio.Future[None], error: KafkaError | None) -> None:
    if written.done():
        return
    if error is None:
        written.set_result(None)
    else:
        written.set_exception(NotWritten(error.str()))
