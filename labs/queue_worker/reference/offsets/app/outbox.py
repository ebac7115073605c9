"""The way from the outbox to the topic."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from app.database import Database, DatabaseUnavailable
from app.kafka import KafkaWriter, NotWritten

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 100
# How often to look for what other replicas have left behind, and how long to leave alone what fails.
LOOK_S = 0.5
# A round keeps a transaction open while Kafka is written to.
ROUND_S = 6.0

# What another replica has at work is skipped, not waited for.
NEXT = "SELECT number, key, value FROM outbox ORDER BY number LIMIT $1 FOR UPDATE SKIP LOCKED"
REMOVE = "DELETE FROM outbox WHERE number = ANY($1::bigint[])"


class Relay:
    """Runs in every replica of the API. A record is removed when Kafka has it, so it may be written twice."""

    def __init__(self, database: Database, writer: KafkaWriter, *, topic: str) -> None:
        self._database = database
        self._writer = writer
        self._topic = topic
        self._filled = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """There is something in the outbox."""
        self._filled.set()

    async def run(self) -> None:
        while not self._stopping:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._filled.wait(), LOOK_S)
            self._filled.clear()
            try:
                while await self._round():
                    pass
            except (DatabaseUnavailable, NotWritten) as error:
                logger.warning("the outbox waits: %s", error)
                await asyncio.sleep(LOOK_S)

    def stop(self) -> None:
        """Let `run` end after one more round."""
        self._stopping = True
        self._filled.set()

    async def _round(self) -> int:
        """Write what nobody else is writing; how much that was."""
        async with self._database.lend(ROUND_S) as connection, connection.transaction():
            rows = await connection.fetch(NEXT, MOST_AT_ONCE)
            if rows:
                writing = (
                    self._writer.write(self._topic, key=row["key"], value=row["value"]) for row in rows
                )
                await asyncio.gather(*writing)
                await connection.execute(REMOVE, [row["number"] for row in rows])
        return len(rows)
