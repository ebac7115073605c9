"""A real Redis, a real Postgres and any number of replicas on them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
import redis
from docker.errors import DockerException
from testcontainers.community.postgres import PostgresContainer
from testcontainers.community.redis import RedisContainer
from testcontainers.core.container import DockerContainer

from tests.replica import ROOT, Replica

# Those of compose.yaml.
REDIS_IMAGE = "redis:8.6.2"
POSTGRES_IMAGE = "postgres:18.6"

StartReplicas = Callable[..., list[Replica]]


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The Redis at REDIS_URL, else one in a container that lives as long as the tests.

    Nothing is ever flushed: tests keep apart by products of their own.
    """
    given = os.environ.get("REDIS_URL")
    if given:
        yield given
        return
    container = _started(RedisContainer, REDIS_IMAGE, needs="Redis: set REDIS_URL")
    try:
        yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"
    finally:
        container.stop()


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """The Postgres at DATABASE_URL, else one in a container, with the table of products in it."""
    given = os.environ.get("DATABASE_URL")
    if given:
        _make_table(given)
        yield given
        return
    container = _started(PostgresContainer, POSTGRES_IMAGE, needs="Postgres: set DATABASE_URL")
    try:
        url = container.get_connection_url(driver=None)
        _make_table(url)
        yield url
    finally:
        container.stop()


def _started(kind: type[DockerContainer], image: str, *, needs: str) -> Any:
    try:
        return kind(image).start()
    except DockerException as error:
        pytest.skip(f"needs {needs}, or start Docker ({type(error).__name__}: {error})")


def _make_table(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute((ROOT / "db/products.sql").read_text(encoding="utf-8"))


@pytest.fixture
def store(redis_url: str) -> Iterator[redis.Redis]:
    """A look into Redis, past the service."""
    with redis.Redis.from_url(redis_url) as store:
        yield store


@pytest.fixture
def table(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to Postgres, past the service; each statement is committed at once."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def start_replicas(redis_url: str, database_url: str) -> Iterator[StartReplicas]:
    """`start_replicas(3, ttl_s=5)`: that many processes on the same Redis and Postgres."""
    with ExitStack() as running:

        def start(count: int, *, ttl_s: int = 60, negative_ttl_s: int = 60) -> list[Replica]:
            replicas = (
                Replica(
                    instance=f"web-{number}",
                    redis_url=redis_url,
                    database_url=database_url,
                    ttl_s=ttl_s,
                    negative_ttl_s=negative_ttl_s,
                )
                for number in range(1, count + 1)
            )
            return [running.enter_context(replica) for replica in replicas]

        yield start


@pytest.fixture(scope="session")
def replica(redis_url: str, database_url: str) -> Iterator[Replica]:
    """One for all tests that neither stop it nor care how long entries live."""
    with Replica(
        instance="web-0", redis_url=redis_url, database_url=database_url, ttl_s=60, negative_ttl_s=60
    ) as replica:
        yield replica


@pytest.fixture
def lonely_replica() -> Iterator[Replica]:
    """A replica whose Redis and Postgres are down: nothing listens on port 1."""
    with Replica(
        instance="web-1",
        redis_url="redis://127.0.0.1:1/0",
        database_url="postgresql://products:products@127.0.0.1:1/products",
        ttl_s=60,
        negative_ttl_s=60,
    ) as replica:
        yield replica


@pytest.fixture
def fresh_id() -> int:
    """The id of a product that there never was."""
    return random.randint(1, 2**62)
