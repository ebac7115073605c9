"""A producer that is made when it is first needed, whether Kafka is there yet or not."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from kafka import KafkaProducer
from kafka.errors import KafkaError

# Together less than the 5 s within which a request has its answer.
REACHED_S = 0.7
ACKNOWLEDGED_S = 2.0


class NotWritten(Exception):
    """Kafka did not say in time that it has the record; it may have it all the same."""


class Producing:
    """Writes records, each safe on all replicas in sync when `write` returns."""

    def __init__(self, servers: str) -> None:
        self._servers = servers
        self._lock = Lock()
        self._producer: KafkaProducer | None = None

    def write(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Raises NotWritten, within 4.1 s."""
        try:
            sent = self._connected().send(topic, key=key, value=value, headers=list(headers))
            sent.get(timeout=ACKNOWLEDGED_S)
        except (KafkaError, OSError) as error:
            raise NotWritten(f"{type(error).__name__}: {error}") from error

    def _connected(self) -> KafkaProducer:
        if not self._lock.acquire(timeout=REACHED_S):
            raise NotWritten("Kafka cannot be reached")
        try:
            if self._producer is None:
                self._producer = self._connect()
            return self._producer
        finally:
            self._lock.release()

    def _connect(self) -> KafkaProducer:
        """Without idempotence, in which a batch out of time ends the producer; doubles do no harm."""
        return KafkaProducer(
            bootstrap_servers=self._servers,
            acks="all",
            enable_idempotence=False,
            bootstrap_timeout_ms=REACHED_S * 1000,
            max_block_ms=REACHED_S * 1000,
            request_timeout_ms=2000,
            delivery_timeout_ms=2500,
            reconnect_backoff_max_ms=500,
            metrics_enabled=False,
        )

    def close(self) -> None:
        if self._producer is not None:
            self._producer.close(timeout=0.5)
