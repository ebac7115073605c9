"""Publishes events: at least once, identical when repeated, in order for each payment."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]

from app.database import FAILURES
from app.events import CHANNEL
from app.settings import RelaySettings

logger = logging.getLogger(__name__)

# Notifications are lost with the connection that they come on, so the table is looked at anyway.
LOOK_EVERY_S = 0.5
REST_S = 0.2
KAFKA_ANSWERS_WITHIN_MS = 2500
POSTGRES_ANSWERS_WITHIN_S = 2.5
# A relay that froze with rows in its hands lets go of them after this long.
IDLE_WITHIN_MS = 8000

# The oldest event of each payment that waits, unless another relay has it in its hands: the next one of the
# payment is no candidate until this one is published and committed, so order needs no leader.
NEXT = """
SELECT id, payment_id, value FROM outbox AS event
WHERE published_at IS NULL AND NOT EXISTS (
  SELECT FROM outbox AS earlier
  WHERE earlier.payment_id = event.payment_id AND earlier.id < event.id AND earlier.published_at IS NULL)
ORDER BY id LIMIT 200
FOR UPDATE SKIP LOCKED
"""
MARK = "UPDATE outbox SET published_at = now() WHERE id = ANY($1::bigint[])"


def main() -> None:
    asyncio.run(_run(RelaySettings.from_env()))


async def _run(settings: RelaySettings) -> None:
    """Until SIGTERM. What is in hand is finished first."""
    woken, stopped = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        stopped.set()
        woken.set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    while not stopped.is_set():
        try:
            await _relay(settings, woken, stopped)
        except (KafkaError, *FAILURES) as error:
            logger.warning("starts again: %s %s", type(error).__name__, error)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), REST_S)


async def _relay(settings: RelaySettings, woken: asyncio.Event, stopped: asyncio.Event) -> None:
    """With one connection to each side, until one of them fails."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers,
        acks="all",
        request_timeout_ms=KAFKA_ANSWERS_WITHIN_MS,
    )
    connection = await asyncpg.connect(
        settings.database_url,
        timeout=POSTGRES_ANSWERS_WITHIN_S,
        command_timeout=POSTGRES_ANSWERS_WITHIN_S,
        server_settings={"idle_in_transaction_session_timeout": str(IDLE_WITHIN_MS)},
    )
    try:
        await connection.add_listener(CHANNEL, lambda *_: woken.set())
        await producer.start()
        while not stopped.is_set():
            woken.clear()
            if not await _publish(connection, producer, settings.topic):
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), LOOK_EVERY_S)
    finally:
        connection.terminate()
        with suppress(TimeoutError, KafkaError):
            await asyncio.wait_for(producer.stop(), 1)


async def _publish(connection: Any, producer: AIOKafkaProducer, topic: str) -> bool:
    """Publish what is next of each payment; whether there was anything.

    Rows are marked once Kafka has acknowledged them, and those only. Whoever dies before COMMIT
    leaves them to be published again.
    """
    async with connection.transaction():
        rows = await connection.fetch(NEXT)
        outcomes = await asyncio.gather(
            *(_send(producer, topic, row) for row in rows), return_exceptions=True
        )
        sent = [row["id"] for row, outcome in zip(rows, outcomes, strict=True) if outcome is None]
        if sent:
            await connection.execute(MARK, sent)
    for outcome in outcomes:
        if outcome is not None:
            raise outcome
    return bool(rows)


async def _send(producer: AIOKafkaProducer, topic: str, row: Any) -> None:
    await producer.send_and_wait(topic, key=str(row["payment_id"]).encode(), value=row["value"].encode())


if __name__ == "__main__":
    main()
