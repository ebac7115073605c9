"""A real Postgres, a real Kafka, a provider that pretends, and any number of replicas on them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from docker.errors import DockerException
from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import KafkaError
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer

from provider.server import Provider, serve
from tests.events import Events
from tests.replica import ROOT, Replica, free_port

# Those of compose.yaml.
POSTGRES_IMAGE = "postgres:18.6"
KAFKA_IMAGE = "apache/kafka:4.2.1"
KAFKA_START_S = 60
LOCK_S = 2

StartReplicas = Callable[..., list[Replica]]


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """The Postgres at DATABASE_URL, else one in a container that lives as long as the tests.

    Its tables are made by `app.migrate`. Tests keep apart by keys and orders of their own.
    """
    given = os.environ.get("DATABASE_URL")
    if given:
        _migrate(given)
        yield given
        return
    container = _started(lambda: PostgresContainer(POSTGRES_IMAGE), needs="Postgres: set DATABASE_URL")
    try:
        url = container.get_connection_url(driver=None)
        _migrate(url)
        yield url
    finally:
        container.stop()


def _migrate(url: str) -> None:
    environment = {**os.environ, "DATABASE_URL": url}
    subprocess.run([sys.executable, "-m", "app.migrate"], cwd=ROOT, env=environment, check=True)


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """host:port of the Kafka at KAFKA_BOOTSTRAP_SERVERS, else of one in a container."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield given
        return
    # The broker tells clients where to go on, so its port has to be known before it starts.
    port = free_port()
    bootstrap = f"127.0.0.1:{port}"
    container = _started(
        lambda: DockerContainer(KAFKA_IMAGE, env=_kafka_settings(bootstrap)).with_bind_ports(9092, port),
        needs="Kafka: set KAFKA_BOOTSTRAP_SERVERS",
    )
    try:
        _wait_for_kafka(bootstrap)
        yield bootstrap
    finally:
        container.stop()


def _kafka_settings(advertised: str) -> dict[str, str]:
    """One node in KRaft mode."""
    return {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:29093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "INSIDE",
        "KAFKA_LISTENERS": "INSIDE://localhost:29092,CONTROLLER://localhost:29093,OUTSIDE://:9092",
        "KAFKA_ADVERTISED_LISTENERS": f"INSIDE://localhost:29092,OUTSIDE://{advertised}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT,OUTSIDE:PLAINTEXT",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    }


def _wait_for_kafka(bootstrap: str) -> None:
    deadline = time.monotonic() + KAFKA_START_S
    while True:
        try:
            return KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=1_000).close()
        except KafkaError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _started(make: Callable[[], DockerContainer], *, needs: str) -> Any:
    try:
        return make().start()
    except DockerException as error:
        pytest.skip(f"needs {needs}, or start Docker ({type(error).__name__}: {error})")


@pytest.fixture(scope="session")
def topic(kafka: str) -> str:
    """A topic that no other run of the tests has; it is there before the service starts."""
    name = f"payment-events-{uuid.uuid4().hex}"
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    try:
        admin.create_topics([NewTopic(name, num_partitions=3, replication_factor=1)])
    finally:
        admin.close()
    return name


@pytest.fixture
def events(kafka: str, topic: str) -> Iterator[Events]:
    """What has been announced, read past the service."""
    with Events(kafka, topic) as events:
        yield events


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    """A provider that pretends, in this process: its ledger can be looked at, its answers held."""
    server = serve("127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def table(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to Postgres, past the service; each statement is committed at once."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def settings(database_url: str, kafka: str, topic: str, provider: Provider) -> dict[str, str]:
    """What all replicas are told."""
    return {
        "DATABASE_URL": database_url,
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "EVENTS_TOPIC": topic,
        "PSP_URL": provider.url,
        "IDEMPOTENCY_LOCK_SECONDS": str(LOCK_S),
    }


@pytest.fixture
def start_replicas(settings: dict[str, str]) -> Iterator[StartReplicas]:
    """`start_replicas(3)`: that many processes on the same services."""
    with ExitStack() as running:

        def start(count: int) -> list[Replica]:
            replicas = (Replica(instance=f"web-{n}", settings=settings) for n in range(1, count + 1))
            return [running.enter_context(replica) for replica in replicas]

        yield start


@pytest.fixture(scope="session")
def replica(settings: dict[str, str]) -> Iterator[Replica]:
    """One for all tests that do not stop it."""
    with Replica(instance="web-0", settings=settings) as replica:
        yield replica


@pytest.fixture
def lonely_replica() -> Iterator[Replica]:
    """A replica whose Postgres, Kafka and provider are down: nothing listens on port 1."""
    nowhere = {
        "DATABASE_URL": "postgresql://payments:payments@127.0.0.1:1/payments",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "EVENTS_TOPIC": "payment-events",
        "PSP_URL": "http://127.0.0.1:1",
        "IDEMPOTENCY_LOCK_SECONDS": str(LOCK_S),
    }
    with Replica(instance="web-1", settings=nowhere) as replica:
        yield replica


@pytest.fixture
def key() -> str:
    """A key that was never used."""
    return uuid.uuid4().hex


@pytest.fixture
def order(key: str) -> dict[str, Any]:
    """The body of a payment for an order that nobody has placed before."""
    return {"order_id": f"order-{key}", "amount_cents": 1999, "currency": "EUR", "source": "card"}
