"""Publishes events: at least once, identical when repeated, in the order of transactions."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError
from pg8000.exceptions import Error  # type: ignore[import-untyped]

from app.connections import Line, connect

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1
REST_S = 0.2
KAFKA_ANSWERS_WITHIN_S = 2.5
POSTGRES_ANSWERS_WITHIN_S = 3.0
# A relay that froze with the position in its hands lets go of it after this long.
IDLE = "SET idle_in_transaction_session_timeout = 6000"

# Whoever has locked the position is the relay that works.
POSITION = "SELECT xid::text, id FROM published FOR UPDATE SKIP LOCKED"
# Ids are drawn before COMMIT, so a smaller one may become visible after a larger one: a position that goes
# by them would skip it. Here it goes by transactions, and only as far as all before have ended; in the order
# of the column, not of what is selected of it: as a text, 1000 comes before 999.
NEXT = """
SELECT xid::text, id, payment_id::text, value FROM events
WHERE (xid, id) > (CAST(:xid AS xid8), CAST(:id AS bigint)) AND xid < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY events.xid, events.id LIMIT 500
"""
MOVE = "UPDATE published SET xid = CAST(:xid AS xid8), id = :id"


class Relay:
    def __init__(self, database_url: str, bootstrap_servers: str, topic: str) -> None:
        self._database_url = database_url
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic

    def run(self, stopped: threading.Event) -> None:
        while not stopped.is_set():
            try:
                self._relay(stopped)
            except (KafkaError, Error, OSError) as error:
                logger.warning("starts again: %s %s", type(error).__name__, error)
            except Exception:
                logger.exception("a bug")
            stopped.wait(REST_S)

    def _relay(self, stopped: threading.Event) -> None:
        """With one connection to each side, until one of them fails."""
        line = connect(self._database_url, within_s=POSTGRES_ANSWERS_WITHIN_S)
        try:
            line.say(IDLE)
            producer = _producer(self._bootstrap_servers)
            try:
                while not stopped.is_set():
                    if not self._publish(line, producer):
                        stopped.wait(LOOK_EVERY_S)
            finally:
                with suppress(KafkaError):
                    producer.close(timeout=0.5)
        finally:
            line.hang_up()

    def _publish(self, line: Line, producer: KafkaProducer) -> bool:
        """Publish what is next; whether there was anything. Raises KafkaError.

        The position moves over what Kafka has acknowledged, and no further. Whoever dies before
        COMMIT leaves it to be published again.
        """
        line.say("BEGIN")
        position = line.run(POSITION)
        rows = line.run(NEXT, xid=position[0][0], id=position[0][1]) if position else []
        sent, failure = self._send(producer, _one_of_each(rows))
        if sent:
            line.run(MOVE, xid=sent[-1][0], id=sent[-1][1])
        line.say("COMMIT")
        if failure is not None:
            raise failure
        return bool(sent)

    def _send(self, producer: KafkaProducer, rows: list[Any]) -> tuple[list[Any], KafkaError | None]:
        """Those before the first that failed, and why that did."""
        futures, failure = [], None
        try:
            for _, _, payment_id, value in rows:
                futures.append(producer.send(self._topic, value.encode(), payment_id.encode()))
        except KafkaError as error:
            failure = error
        for number, future in enumerate(futures):
            try:
                future.get(timeout=KAFKA_ANSWERS_WITHIN_S)
            except KafkaError as error:
                return rows[:number], error
        return rows[: len(futures)], failure


def _one_of_each(rows: list[Any]) -> list[Any]:
    """As many as come before a payment's second event: what fails is sent again later than what does not."""
    seen: set[str] = set()
    for number, (_, _, payment_id, _) in enumerate(rows):
        if payment_id in seen:
            return rows[:number]
        seen.add(payment_id)
    return rows


def _producer(bootstrap_servers: str) -> KafkaProducer:
    """Raises KafkaError where there is no broker."""
    wait_ms = int(KAFKA_ANSWERS_WITHIN_S * 1000)
    return KafkaProducer(
        bootstrap_servers=bootstrap_servers,
        acks="all",
        bootstrap_timeout_ms=wait_ms,
        max_block_ms=wait_ms,
        request_timeout_ms=wait_ms - 500,
        delivery_timeout_ms=wait_ms,
        reconnect_backoff_max_ms=500,
    )
