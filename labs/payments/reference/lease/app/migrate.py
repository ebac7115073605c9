"""Makes the tables."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]

SCHEMA = Path(__file__).with_name("schema.sql")
# IF NOT EXISTS does not hold between two that look at the same time.
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('payments: schema'))"


async def migrate(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute(ONE_AT_A_TIME)
            await connection.execute(SCHEMA.read_text())
    finally:
        await connection.close()


def main() -> None:
    asyncio.run(migrate(os.environ["DATABASE_URL"]))
