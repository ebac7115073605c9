"""The table of products.

A product leaves it as the JSON text that the client gets: Postgres writes it, and nothing on the way
has a chance to change it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg

# Sixteen loads side by side, and some writes.
MAX_CONNECTIONS = 24
# A client gets an answer within 3 s, even if Postgres gives none.
ANSWER_WITHIN_S = 2.5

_PRODUCT = """json_build_object('id', id, 'name', name, 'description', description,
    'price_cents', price_cents, 'attributes', attributes, 'version', version)::text"""

_FIND = f"SELECT {_PRODUCT} FROM products WHERE id = $1"

_FIND_ALL = f"SELECT id, {_PRODUCT} FROM products WHERE id = ANY($1::bigint[])"

# One statement decides whether it creates or replaces: between two, somebody else could do either.
_PUT = f"""
    INSERT INTO products (id, name, description, price_cents, attributes)
    SELECT $1::bigint, body->>'name', body->>'description', (body->>'price_cents')::bigint, body->'attributes'
    FROM (SELECT $2::jsonb AS body) AS sent
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, description = excluded.description,
        price_cents = excluded.price_cents, attributes = excluded.attributes, version = products.version + 1
    RETURNING version = 1, {_PRODUCT}"""

_DELETE = "DELETE FROM products WHERE id = $1 RETURNING id"

_NO_ANSWER = (
    OSError,  # no connection, or none in time
    asyncpg.InterfaceError,  # the connection ended under us
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # starting up, shutting down
    asyncpg.InsufficientResourcesError,
)


class Unavailable(Exception):
    """Postgres did not answer. Of a write nobody can say whether it was done."""


class Refused(Exception):
    """Postgres cannot hold the value, such as a NUL in a text; nothing was changed."""


class Products:
    """Rows of the table, each as JSON text. All methods raise Unavailable."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def find(self, product_id: int) -> str | None:
        rows = await self._run(_FIND, product_id)
        return rows[0][0] if rows else None

    async def find_all(self, product_ids: Sequence[int]) -> dict[int, str]:
        """Those that there are, by id."""
        return dict(map(tuple, await self._run(_FIND_ALL, product_ids)))

    async def put(self, product_id: int, product: str) -> tuple[bool, str]:
        """Create or replace; whether it was created, and the product as it stands. Raises Refused."""
        try:
            [(created, stored)] = await self._run(_PUT, product_id, product)
        except (asyncpg.DataError, asyncpg.ProgramLimitExceededError) as error:
            raise Refused(str(error)) from error
        return created, stored

    async def delete(self, product_id: int) -> bool:
        """Whether there was one."""
        return bool(await self._run(_DELETE, product_id))

    async def _run(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """One statement, a transaction of its own: committed when its answer is here."""
        latest = time.monotonic() + ANSWER_WITHIN_S
        try:
            async with self._pool.acquire(timeout=ANSWER_WITHIN_S) as connection:
                try:
                    return await connection.fetch(statement, *arguments, timeout=latest - time.monotonic())
                except TimeoutError:
                    # The pool would wait for the answer before it takes the connection back.
                    connection.terminate()
                    raise
        except _NO_ANSWER as error:
            raise Unavailable(f"{type(error).__name__}: {error}") from error


@asynccontextmanager
async def open_products(database_url: str) -> AsyncIterator[Products]:
    """The table at `database_url`. Nothing is connected before it is needed, so Postgres may be down."""
    pool = await asyncpg.create_pool(
        database_url, min_size=0, max_size=MAX_CONNECTIONS, timeout=ANSWER_WITHIN_S
    )
    try:
        yield Products(pool)
    finally:
        # By now all requests are answered; a Postgres that hangs is no reason to wait.
        pool.terminate()
