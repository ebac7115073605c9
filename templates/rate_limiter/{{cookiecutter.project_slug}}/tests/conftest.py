"""A real Redis and any number of replicas on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from uuid import uuid4

import pytest
import redis
from docker.errors import DockerException
from testcontainers.community.redis import RedisContainer

from tests.replica import Replica

REDIS_IMAGE = "redis:8.6.2"  # the one of compose.yaml

StartReplicas = Callable[..., list[Replica]]


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The Redis at REDIS_URL, else one in a container that lives as long as the tests.

    Nothing is ever flushed: tests keep apart by clients of their own, as real ones do.
    """
    given = os.environ.get("REDIS_URL")
    if given:
        yield given
        return
    try:
        container = RedisContainer(REDIS_IMAGE).start()
    except DockerException as error:
        pytest.skip(f"needs Redis: set REDIS_URL, or start Docker ({type(error).__name__}: {error})")
    try:
        yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"
    finally:
        container.stop()


@pytest.fixture
def store(redis_url: str) -> Iterator[redis.Redis]:
    """A look into Redis, past the service."""
    with redis.Redis.from_url(redis_url) as store:
        yield store


@pytest.fixture
def start_replicas(redis_url: str) -> Iterator[StartReplicas]:
    """`start_replicas(3, limit=5, window_ms=60_000)`: that many processes on the same Redis."""
    with ExitStack() as running:

        def start(count: int, *, limit: int, window_ms: int) -> list[Replica]:
            replicas = (
                Replica(instance=f"web-{number}", redis_url=redis_url, limit=limit, window_ms=window_ms)
                for number in range(1, count + 1)
            )
            return [running.enter_context(replica) for replica in replicas]

        yield start


@pytest.fixture
def lonely_replica() -> Iterator[Replica]:
    """A replica whose Redis is down: nothing listens on port 1."""
    with Replica(instance="web-1", redis_url="redis://127.0.0.1:1/0", limit=5, window_ms=60_000) as replica:
        yield replica


@pytest.fixture
def fresh_client() -> str:
    """An API key that was never used before."""
    return f"client-{uuid4().hex}"
