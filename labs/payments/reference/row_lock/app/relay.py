"""Publishes events, in a thread: at least once, identical when repeated, in order for each payment."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from confluent_kafka import KafkaException, Producer

from app.connections import Connection, Connections, DatabaseUnavailable

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1
REST_S = 0.3
# Whatever Kafka has not acknowledged by then is published again.
KAFKA_ANSWERS_WITHIN_S = 2.5
TRANSACTION_WITHIN_S = 6.0

WAITING = "SELECT EXISTS (SELECT FROM outbox)"
# Until COMMIT, so that it is nobody's for long: a relay that froze loses it with its transaction.
LEAD = "SELECT pg_try_advisory_xact_lock(hashtext('payments: relay'))"
# One of each payment: the next one is taken when this one is published.
NEXT = """
SELECT DISTINCT ON (payment_id) id, payment_id::text, value FROM outbox ORDER BY payment_id, id LIMIT 500
"""
FORGET = "DELETE FROM outbox WHERE id = ANY(%s)"


class Relay:
    """One in each process; of all of them, one works at a time."""

    def __init__(self, connections: Connections, *, bootstrap_servers: str, topic: str) -> None:
        self._connections = connections
        self._topic = topic
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._producer = Producer(_producer_settings(bootstrap_servers), logger=_silent())

    def start(self) -> None:
        self._thread.start()

    def stop(self, within_s: float) -> None:
        """What is in hand is finished first."""
        self._stopped.set()
        self._thread.join(within_s)

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stopped.wait(pause_s):
            try:
                pause_s = 0.0 if self._publish() else LOOK_EVERY_S
            except DatabaseUnavailable:
                pause_s = REST_S
            except Exception:
                logger.exception("a bug")
                pause_s = REST_S

    def _publish(self) -> bool:
        """Publish what is next of each payment; whether anything was.

        Rows go once Kafka has acknowledged them, and those only. Whoever dies before COMMIT
        leaves them to be published again.
        """
        with self._connections.lend(until=time.monotonic() + TRANSACTION_WITHIN_S) as connection:
            if not _is_true(connection, WAITING):
                return False
            with connection.transaction():
                if not _is_true(connection, LEAD):
                    return False
                sent = self._send(connection.execute(NEXT).fetchall())
                connection.execute(FORGET, (sent,))
        return bool(sent)

    def _send(self, rows: list[Any]) -> list[int]:
        """The ids of those that Kafka has acknowledged."""
        acknowledged: list[int] = []

        def note(id_: int) -> Any:
            return lambda error, _: None if error else acknowledged.append(id_)

        for id_, payment_id, value in rows:
            try:
                self._producer.produce(self._topic, value, payment_id, on_delivery=note(id_))
            except (KafkaException, BufferError) as error:
                logger.warning("Kafka takes no more: %s", error)
                break
        self._producer.flush(KAFKA_ANSWERS_WITHIN_S + 1)
        return list(acknowledged)


def _is_true(connection: Connection, question: str) -> bool:
    row = connection.execute(question).fetchone()
    return row is not None and bool(row[0])


def _producer_settings(bootstrap_servers: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": bootstrap_servers,
        "acks": "all",
        "linger.ms": 0,
        "message.timeout.ms": int(KAFKA_ANSWERS_WITHIN_S * 1000),
        "socket.timeout.ms": int(KAFKA_ANSWERS_WITHIN_S * 1000),
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 500,
    }


def _silent() -> logging.Logger:
    """librdkafka tells of every try to connect; an outage is known without."""
    silent = logging.getLogger("librdkafka")
    silent.setLevel(logging.CRITICAL)
    return silent
