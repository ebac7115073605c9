"""The dead-letter topic."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from app.kafka import KafkaWriter, NotWritten

logger = logging.getLogger(__name__)

PAUSE_S = 0.5


@dataclass(frozen=True)
class Record:
    """What came from Kafka."""

    offset: int
    key: bytes | None
    value: bytes | None


class DeadLetters:
    def __init__(self, writer: KafkaWriter, *, topic: str) -> None:
        self._writer = writer
        self._topic = topic

    async def write(self, record: Record, *, error: str, attempts: int) -> None:
        """Returns when Kafka has the letter, however long that takes."""
        headers = [("x-error", error.encode()), ("x-attempts", str(attempts).encode())]
        while True:
            try:
                return await self._writer.write(
                    self._topic, key=record.key, value=record.value, headers=headers
                )
            except NotWritten as failure:
                logger.warning("a dead letter could not be written: %s", failure)
                await asyncio.sleep(PAUSE_S)
