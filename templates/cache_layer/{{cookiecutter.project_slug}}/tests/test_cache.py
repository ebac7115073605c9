"""The cache, tested on a real Redis and a real Postgres.

All of these fail as they stand, and say so: `strict` turns the first success into a failure that
reminds you to remove the mark. They are a beginning; `grade` asks for much more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import redis

from tests.conftest import StartReplicas
from tests.replica import Replica
from tests.test_api import LAMP

yours_to_write = pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="nothing is cached yet; remove this mark when it is"
)


@pytest.fixture
def stored(table: psycopg.Connection[Any], fresh_id: int) -> int:
    """The id of a product that the service has never seen."""
    table.execute("INSERT INTO products (id, name, price_cents) VALUES (%s, 'Lamp', 1999)", [fresh_id])
    return fresh_id


@yours_to_write
def test_a_repeated_get_is_a_hit(replica: Replica, stored: int) -> None:
    first, second = (replica.get(f"/products/{stored}") for _ in range(2))

    assert second.headers["X-Cache"] == "hit"
    assert second.json() == first.json()


@yours_to_write
def test_what_is_kept_in_redis_expires(
    start_replicas: StartReplicas, store: redis.Redis, stored: int
) -> None:
    ttl_s = 20
    [replica] = start_replicas(1, ttl_s=ttl_s, negative_ttl_s=ttl_s)
    before = set(store.scan_iter(count=1_000))

    replica.get(f"/products/{stored}")

    # A right cache may fill after it has answered.
    time.sleep(0.5)
    written = {key: store.pttl(key) for key in set(store.scan_iter(count=1_000)) - before}
    assert written, "nothing is kept in Redis"
    immortal = [key for key, ttl_ms in written.items() if not 0 < ttl_ms <= ttl_s * 1_000]
    assert immortal == []


@yours_to_write
def test_a_cold_product_is_loaded_once(
    replica: Replica, database_url: str, table: psycopg.Connection[Any], stored: int
) -> None:
    """Everybody asks at once, and Postgres is slow: a lock on the table holds whoever reads it."""
    with ThreadPoolExecutor(8) as clients:
        with table_locked(database_url):
            answers = [clients.submit(replica.get, f"/products/{stored}") for _ in range(8)]
            time.sleep(1)
            loads = waiting_for_the_table(table)
        shown = [answer.result().json()["name"] for answer in answers]

    assert shown == [LAMP["name"]] * 8
    assert loads == 1


@contextmanager
def table_locked(database_url: str) -> Iterator[None]:
    with psycopg.connect(database_url) as connection:
        connection.execute("LOCK TABLE products IN ACCESS EXCLUSIVE MODE")
        yield


def waiting_for_the_table(table: psycopg.Connection[Any]) -> int:
    """How many statements wait for the lock."""
    [count] = table.execute(
        "SELECT count(*) FROM pg_locks WHERE relation = 'products'::regclass AND NOT granted"
    ).fetchone() or (0,)
    return int(count)
