"""`python -m app.migrate`: brings the database up to date, and ends.

Files of `db/` are carried out once each, in the order of their names. What has been carried out is
not read again: what is to change comes in a new file.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import asyncpg

FOLDER = Path(__file__).resolve().parent.parent / "db"
# Postgres may still be starting.
ATTEMPTS, PAUSE_S = 20, 0.5
# Any number will do, as long as nobody else locks it.
LOCK = 7_300_421


async def migrate(database_url: str) -> None:
    """Carry out what is new, all of it or none. Several may run at once: one does the work."""
    connection = await _connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            await connection.execute("CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY)")
            done = {name for (name,) in await connection.fetch("SELECT name FROM migrations")}
            for path in sorted(path for path in FOLDER.glob("*.sql") if path.name not in done):
                logging.info("migrating: %s", path.name)
                await connection.execute(path.read_text(encoding="utf-8"))
                await connection.execute("INSERT INTO migrations (name) VALUES ($1)", path.name)
    finally:
        await connection.close()


async def _connect(database_url: str) -> asyncpg.Connection:
    for _ in range(ATTEMPTS - 1):
        try:
            return await asyncpg.connect(database_url, timeout=PAUSE_S * 4)
        except (OSError, asyncpg.CannotConnectNowError):
            await asyncio.sleep(PAUSE_S)
    return await asyncpg.connect(database_url, timeout=PAUSE_S * 4)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    database_url = os.environ.get("DATABASE_URL")
    if not database_url:
        sys.exit("cannot migrate: not set in the environment: DATABASE_URL")
    asyncio.run(migrate(database_url))


if __name__ == "__main__":
    main()
