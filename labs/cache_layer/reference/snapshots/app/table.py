"""The table `products`: the truth. A product leaves it as JSON text and is passed on as it is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.errors import StatementTooComplex

from app.connections import Connections

logger = logging.getLogger(__name__)

CONNECTIONS = 20
# "Postgres is down" must be said within 3 s; a write may take longer, but never near 5 s.
READ_DEADLINE_S = 2.5
WRITE_DEADLINE_S = 3.5

# A row for each id, there or not, and the oldest transaction that the statement's snapshot does not see the
# end of. Whatever older transactions wrote is in it.
LOAD = b"""
SELECT wanted.id, to_json(products)::text, pg_snapshot_xmin(pg_current_snapshot())::text
FROM unnest(%s::bigint[]) AS wanted (id) LEFT JOIN products USING (id)
"""
# A row that was inserted has no xmax; one that was updated has.
PUT = b"""
INSERT INTO products (id, name, description, price_cents, attributes, version)
SELECT %s, body->>'name', body->>'description', (body->>'price_cents')::bigint, body->'attributes', 1
FROM (SELECT %s::jsonb AS body) AS request
ON CONFLICT (id) DO UPDATE SET
  name = excluded.name, description = excluded.description, price_cents = excluded.price_cents,
  attributes = excluded.attributes, version = products.version + 1
RETURNING pg_current_xact_id()::text, to_json(products)::text, xmax = 0
"""
DELETE = b"""
WITH deleted AS (DELETE FROM products WHERE id = %s RETURNING id)
SELECT pg_current_xact_id()::text, EXISTS (SELECT FROM deleted)
"""


class TableUnavailable(Exception):
    """Postgres did not do it, or did not say so in time.

    transaction  of a write that may have been committed all the same, or None
    """

    def __init__(self, transaction: int | None = None) -> None:
        super().__init__(transaction)
        self.transaction = transaction


class Unstorable(Exception):
    """JSON that no column can hold, such as a text with U+0000."""


@dataclass(frozen=True)
class Loaded:
    """What one statement saw.

    products  JSON text by id, None where there is no such product
    horizon   every transaction before this one had ended, and what it wrote was seen
    """

    products: dict[int, str | None]
    horizon: int


@dataclass(frozen=True)
class Put:
    """transaction: its id; product: JSON text as stored; created: there was none before."""

    transaction: int
    product: str
    created: bool


@dataclass(frozen=True)
class Deleted:
    """transaction: its id; found: there was one."""

    transaction: int
    found: bool


class Table:
    """Every method raises TableUnavailable where Postgres cannot be asked within the deadline."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def load(self, product_ids: Sequence[int]) -> Loaded:
        """One statement, so one snapshot, for one id or many. There must be at least one."""
        try:
            async with self._connections.lend(READ_DEADLINE_S) as connection:
                rows: list[Any] = await (await connection.execute(LOAD, [list(product_ids)])).fetchall()
        except (psycopg.Error, OSError) as error:
            raise _named(error) from error
        return Loaded({id_: product for id_, product, _ in rows}, horizon=int(rows[0][2]))

    async def put(self, product_id: int, body: str) -> Put:
        """Create or replace; `body` is checked JSON text. Raises Unstorable, and then nothing has changed."""
        transaction, product, created = await self._write(PUT, product_id, body)
        return Put(int(transaction), product, created)

    async def delete(self, product_id: int) -> Deleted:
        transaction, found = await self._write(DELETE, product_id)
        return Deleted(int(transaction), found)

    async def _write(self, statement: bytes, *arguments: int | str) -> Any:
        """Its row, the transaction's id first, once that is committed."""
        row: Any = None
        try:
            async with self._connections.lend(WRITE_DEADLINE_S) as connection, connection.transaction():
                row = await (await connection.execute(statement, arguments)).fetchone()
        except (psycopg.Error, OSError) as error:
            raise _named(error, transaction=None if row is None else int(row[0])) from error
        return row


def _named(error: Exception, *, transaction: int | None = None) -> Exception:
    if isinstance(error, psycopg.DataError | StatementTooComplex):
        return Unstorable()
    logger.warning("Postgres fails: %s %s", type(error).__name__, str(error).partition("\n")[0])
    return TableUnavailable(transaction)
