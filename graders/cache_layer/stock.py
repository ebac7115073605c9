"""The table of products: what the grader puts into it before the service starts, and sees in it."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .values import load

LARGEST_ID = 2**63 - 1
# Not to be had as a float: the next integers that are differ by two.
BEYOND_FLOATS = 2**53 + 1
ROWS = 1000
# A PUT with this name is refused by the database, but only at COMMIT.
REFUSED_AT_COMMIT = "a name that no transaction can commit"

TABLE = """
CREATE TABLE products (
  id bigint PRIMARY KEY,
  name text NOT NULL,
  description text,
  price_cents bigint NOT NULL,
  attributes jsonb NOT NULL DEFAULT '{}',
  version bigint NOT NULL DEFAULT 1
);
CREATE FUNCTION refuse_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.name = '%s' THEN
    RAISE EXCEPTION 'this name is refused at COMMIT' USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER refused_at_commit AFTER INSERT OR UPDATE ON products
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_at_commit();
"""

WORDS = ("amber", "birch", "cobalt", "dune", "ember", "fjord", "granite", "harbour", "indigo", "juniper")


@dataclass(frozen=True)
class Product:
    """A row of the table, and what a GET of it answers."""

    id: int
    name: str
    description: str | None
    price_cents: int
    attributes: Mapping[str, Any]
    version: int = 1

    @property
    def json(self) -> dict[str, Any]:
        return {**self.body, "id": self.id, "version": self.version}

    @property
    def body(self) -> dict[str, Any]:
        """What a PUT says of it."""
        return {
            "name": self.name,
            "description": self.description,
            "price_cents": self.price_cents,
            "attributes": self.attributes,
        }

    def renamed(self, name: str) -> Product:
        """The same, as the next PUT with this name makes it."""
        return replace(self, name=name, version=self.version + 1)


class Stock:
    """The products of one arena. Each is given out once: no other check has asked for it or written it."""

    def __init__(self, postgres: Any, chance: random.Random) -> None:
        self._postgres = postgres
        self._products = list(_rows(chance))
        self._unused = iter(self._products)
        self._lock = threading.Lock()

    def take(self) -> Product:
        with self._lock:
            return next(self._unused)

    def fill(self) -> None:
        """Make the table, with rights for the submission's role to read and write rows."""
        with self._postgres.connect() as connection:
            connection.execute(TABLE % REFUSED_AT_COMMIT)
            connection.execute(
                f'GRANT SELECT, INSERT, UPDATE, DELETE ON products TO "{self._postgres.guest.user}"'
            )
            with connection.cursor().copy("COPY products FROM STDIN") as copy:
                for product in self._products:
                    copy.write_row((*_columns(product), product.version))

    def row(self, id: int) -> dict[str, Any] | None:
        """The row as a GET should answer it, or None."""
        query = "SELECT to_jsonb(products)::text FROM products WHERE id = %s"
        with self._postgres.connect() as connection:
            found = connection.execute(query, [id]).fetchone()
        return None if found is None else load(found[0])

    def change(self, product: Product) -> None:
        """Write a row past the service, whether or not it is there."""
        query = """INSERT INTO products VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO UPDATE
            SET name = excluded.name, description = excluded.description, version = excluded.version,
            price_cents = excluded.price_cents, attributes = excluded.attributes"""
        with self._postgres.connect() as connection:
            connection.execute(query, [*_columns(product), product.version])


def stocked(services: Mapping[str, Any], chance: random.Random) -> Stock:
    """A filled table in an arena's Postgres."""
    stock = Stock(services["postgres"], chance)
    stock.fill()
    return stock


def _columns(product: Product) -> tuple[Any, ...]:
    attributes = json.dumps(product.attributes, ensure_ascii=False)
    return (product.id, product.name, product.description, product.price_cents, attributes)


def _rows(chance: random.Random) -> Iterator[Product]:
    for id in chance.sample(range(1, 10_000_000), ROWS):
        words = chance.choices(WORDS, k=3)
        yield Product(
            id=id,
            name=" ".join(words[:2]),
            description=chance.choice([None, "", f"{words[2]} and {words[0]}"]),
            price_cents=chance.choice([0, 5, 1999, chance.randrange(10**9)]),
            attributes=chance.choice([{}, {"colour": words[1]}, {"size": [1, 2, 3], "new": False}]),
        )
