"""How far each partition has been done, as Postgres keeps it, and who holds it."""

from __future__ import annotations

from app.attempts import Holding
from app.database import Database

TAKE = """
INSERT INTO reading AS known (consumers, topic, partition, next_offset) VALUES ($1, $2, $3, $4)
ON CONFLICT (consumers, topic, partition) DO UPDATE SET epoch = known.epoch + 1
RETURNING epoch, next_offset
"""
ADVANCE = """
UPDATE reading SET next_offset = $5
WHERE (consumers, topic, partition, epoch) = ($1, $2, $3, $4) RETURNING next_offset
"""


class Reading:
    """Every method raises DatabaseUnavailable where Postgres does not answer."""

    def __init__(self, database: Database, *, group: str, topic: str) -> None:
        self._database = database
        self._group = group
        self._topic = topic

    async def take(self, partition: int, *, committed: int | None) -> tuple[Holding, int | None]:
        """Hold a partition from now on: from the next offset on, or from the start where that is None.

        Whoever held it before begins nothing more. `committed` counts where nobody has ever held it.
        """
        async with self._database.lend() as connection:
            row = await connection.fetchrow(TAKE, self._group, self._topic, partition, committed)
        return Holding(self._group, self._topic, partition, row["epoch"]), row["next_offset"]

    async def advance(self, holding: Holding, next_offset: int) -> bool:
        """All before the offset has ended; False if another worker holds the partition."""
        held = (holding.group, holding.topic, holding.partition, holding.epoch)
        async with self._database.lend() as connection:
            return await connection.fetchval(ADVANCE, *held, next_offset) is not None
