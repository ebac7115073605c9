"""The table `products`: the truth. A product leaves it as JSON text and is passed on as it is."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pg8000.exceptions import DatabaseError, Error  # type: ignore[import-untyped]

from app.connections import Connections, Line

logger = logging.getLogger(__name__)

CONNECTIONS = 20
# "Postgres is down" must be said within 3 s, some of which may have gone to waiting for a lock; a write may
# take longer, but never near 5 s.
READ_DEADLINE_S = 2.4
WRITE_DEADLINE_S = 3.5
# SQLSTATEs: data that a type cannot hold, and limits of the server's, such as nesting.
UNSTORABLE = ("22", "54")

LOAD = "SELECT to_json(products)::text FROM products WHERE id = :id"
LOAD_ALL = "SELECT id, to_json(products)::text FROM products WHERE id = ANY(CAST(:ids AS bigint[]))"
REPLACE = """
UPDATE products SET
  name = body->>'name', description = body->>'description', price_cents = (body->>'price_cents')::bigint,
  attributes = body->'attributes', version = version + 1
FROM (SELECT CAST(:body AS jsonb) AS body) AS request
WHERE id = :id
RETURNING to_json(products)::text
"""
CREATE = """
INSERT INTO products (id, name, description, price_cents, attributes, version)
SELECT CAST(:id AS bigint), body->>'name', body->>'description', (body->>'price_cents')::bigint,
  body->'attributes', 1
FROM (SELECT CAST(:body AS jsonb) AS body) AS request
ON CONFLICT (id) DO NOTHING
RETURNING to_json(products)::text
"""
DELETE = "DELETE FROM products WHERE id = :id RETURNING id"


class TableUnavailable(Exception):
    """Postgres did not do it, or did not say so in time: a write may have been done all the same."""


class Unstorable(Exception):
    """JSON that no column can hold, such as a text with U+0000."""


@dataclass(frozen=True)
class Written:
    """product: JSON text as stored; created: there was none before."""

    product: str
    created: bool


class Table:
    """Every method raises TableUnavailable where Postgres cannot be asked within the deadline."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def load(self, product_id: int) -> str | None:
        """The product as JSON text, or None if there is none."""
        with self._line(READ_DEADLINE_S) as line:
            rows = line.run(LOAD, id=product_id)
        return rows[0][0] if rows else None

    def load_all(self, product_ids: Sequence[int]) -> dict[int, str]:
        """Those of the products that there are, by id, in one statement."""
        with self._line(READ_DEADLINE_S) as line:
            return dict(line.run(LOAD_ALL, ids=list(product_ids)))

    def put(self, product_id: int, body: str) -> Written:
        """Create or replace; `body` is checked JSON text. Raises Unstorable, and then nothing has changed.

        Each statement commits itself. Neither does anything while others create and delete the
        product between the two; then once more.
        """
        with self._line(WRITE_DEADLINE_S) as line:
            while True:
                if rows := line.run(REPLACE, id=product_id, body=body):
                    return Written(rows[0][0], created=False)
                if rows := line.run(CREATE, id=product_id, body=body):
                    return Written(rows[0][0], created=True)

    def delete(self, product_id: int) -> bool:
        """Whether there was one."""
        with self._line(WRITE_DEADLINE_S) as line:
            return bool(line.run(DELETE, id=product_id))

    @contextmanager
    def _line(self, deadline_s: float) -> Iterator[Line]:
        try:
            with self._connections.lend(deadline_s) as line:
                yield line
        except (Error, OSError) as error:
            if isinstance(error, DatabaseError) and error.args[0]["C"].startswith(UNSTORABLE):
                raise Unstorable from error
            logger.warning("Postgres fails: %s %s", type(error).__name__, error)
            raise TableUnavailable from error
