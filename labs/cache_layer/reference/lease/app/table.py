"""The table `products`: the truth. A product leaves it as JSON text and is passed on as it is.

Nothing between the column and the client takes a number apart, so none can lose a digit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]

logger = logging.getLogger(__name__)

T = TypeVar("T")
CONNECTIONS = 20
# "Postgres is down" must be said within 3 s; a write may take longer, but never near 5 s.
READ_DEADLINE_S = 2.5
WRITE_DEADLINE_S = 3.5

LOAD = "SELECT to_json(products)::text FROM products WHERE id = $1"
LOAD_ALL = "SELECT id, to_json(products)::text FROM products WHERE id = ANY($1::bigint[])"
# One statement that commits itself: replicas that write at once queue at the row, each on top of
# the one before. A row that was inserted has no xmax; one that was updated has.
PUT = """
INSERT INTO products (id, name, description, price_cents, attributes, version)
SELECT $1, body->>'name', body->>'description', (body->>'price_cents')::bigint, body->'attributes', 1
FROM (SELECT $2::jsonb AS body) AS request
ON CONFLICT (id) DO UPDATE SET
  name = excluded.name, description = excluded.description, price_cents = excluded.price_cents,
  attributes = excluded.attributes, version = products.version + 1
RETURNING to_json(products)::text, xmax = 0
"""
DELETE = "DELETE FROM products WHERE id = $1 RETURNING id"


class TableUnavailable(Exception):
    """Postgres did not do it, or did not say so in time: a write may have been done all the same."""


class Unstorable(Exception):
    """JSON that no column can hold, such as a text with U+0000."""


@dataclass(frozen=True)
class Written:
    """product: JSON text as stored; created: there was none before."""

    product: str
    created: bool


def connect(url: str) -> asyncpg.Pool:
    """A pool that connects at the first statement. Await it before use."""

    async def leave_as_it_is(_: Any) -> None:
        """A session has no state that a statement of ours could leave behind."""

    return asyncpg.create_pool(url, min_size=0, max_size=CONNECTIONS, reset=leave_as_it_is)


class Table:
    """Every method raises TableUnavailable where Postgres cannot be asked within the deadline."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def load(self, product_id: int) -> str | None:
        """The product as JSON text, or None if there is none."""
        product: str | None = await self._ask(lambda it: it.fetchval(LOAD, product_id), READ_DEADLINE_S)
        return product

    async def load_all(self, product_ids: Sequence[int]) -> dict[int, str]:
        """Those of the products that there are, by id, in one statement."""
        rows = await self._ask(lambda it: it.fetch(LOAD_ALL, product_ids), READ_DEADLINE_S)
        return dict(rows)

    async def put(self, product_id: int, body: str) -> Written:
        """Create or replace; `body` is checked JSON text. Raises Unstorable, and then nothing has changed."""
        product, created = await self._ask(lambda it: it.fetchrow(PUT, product_id, body), WRITE_DEADLINE_S)
        return Written(product, created)

    async def delete(self, product_id: int) -> bool:
        """Whether there was one."""
        deleted = await self._ask(lambda it: it.fetchval(DELETE, product_id), WRITE_DEADLINE_S)
        return deleted is not None

    async def _ask(self, statement: Callable[[Any], Awaitable[T]], deadline_s: float) -> T:
        try:
            async with asyncio.timeout(deadline_s), self._pool.acquire() as connection:
                try:
                    return await statement(connection)
                except asyncio.CancelledError:
                    # Out of time: hang up, rather than wait until Postgres has agreed to stop.
                    connection.terminate()
                    raise
        except (asyncpg.DataError, asyncpg.ProgramLimitExceededError) as error:
            raise Unstorable from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            logger.warning("Postgres fails: %s %s", type(error).__name__, str(error).partition("\n")[0])
            raise TableUnavailable from error
