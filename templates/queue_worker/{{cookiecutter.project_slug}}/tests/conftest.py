"""A real Kafka, a real Postgres, a sink, and any number of web and worker processes on them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from uuid import uuid4

import pytest
from docker.errors import DockerException
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer

from dev.sink import Sink
from tests.broker import Broker
from tests.service import Web, Worker, migrate

# Those of compose.yaml.
KAFKA_IMAGE = "apache/kafka:4.2.1"
POSTGRES_IMAGE = "postgres:18.6"
# Nothing listens on port 1.
NOWHERE = "127.0.0.1:1"
PARTITIONS = 3
MAX_ATTEMPTS = 3
BACKOFF_MS = 100
SESSION_TIMEOUT_MS = 6_000


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """The Kafka at KAFKA_BOOTSTRAP_SERVERS, else one in a container that lives as long as the tests.

    Nothing is ever removed: tests keep apart by topics and groups of their own.
    """
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield Broker(given)
        return
    port = _free_port()
    container = _started(lambda: _kafka(port), needs="Kafka: set KAFKA_BOOTSTRAP_SERVERS, or start Docker")
    try:
        broker = Broker(f"127.0.0.1:{port}")
        broker.wait_ready()
        yield broker
    finally:
        container.stop()


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """The Postgres at DATABASE_URL, else one in a container."""
    given = os.environ.get("DATABASE_URL")
    if given:
        yield given
        return
    container = _started(
        lambda: PostgresContainer(POSTGRES_IMAGE), needs="Postgres: set DATABASE_URL, or start Docker"
    )
    try:
        yield container.get_connection_url(driver=None)
    finally:
        container.stop()


def _started(make: Callable[[], DockerContainer], *, needs: str) -> DockerContainer:
    try:
        return make().start()
    except DockerException as error:
        pytest.skip(f"needs {needs} ({type(error).__name__}: {error})")


def _kafka(port: int) -> DockerContainer:
    """One broker. It tells clients its address, so the port on this machine is chosen beforehand."""
    environment = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:29093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "INSIDE",
        "KAFKA_LISTENERS": "INSIDE://localhost:29092,OUTSIDE://:9092,CONTROLLER://localhost:29093",
        "KAFKA_ADVERTISED_LISTENERS": f"INSIDE://localhost:29092,OUTSIDE://127.0.0.1:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }
    return DockerContainer(KAFKA_IMAGE).with_bind_ports(9092, port).with_envs(**environment)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Service:
    """What one test has to itself: two topics, a group, a sink, and the processes that it starts."""

    broker: Broker
    sink: Sink
    settings: dict[str, str]
    running: ExitStack

    @property
    def topic(self) -> str:
        return self.settings["JOBS_TOPIC"]

    @property
    def dead_letters(self) -> str:
        return self.settings["JOBS_DLQ_TOPIC"]

    def committed(self) -> dict[int, int]:
        return self.broker.committed(self.settings["JOBS_GROUP"], self.topic)

    def web(self, number: int = 1) -> Web:
        web = Web(instance=f"web-{number}", settings=self.settings)
        self.running.enter_context(web)
        return web

    def worker(self, number: int = 1) -> Worker:
        worker = Worker(instance=f"worker-{number}", settings=self.settings)
        self.running.enter_context(worker)
        return worker


@pytest.fixture
def service(broker: Broker, database_url: str) -> Iterator[Service]:
    """Topics of three partitions; `service.web()` and `service.worker(2)` start processes."""
    mark = uuid4().hex[:12]
    settings = settings_of(f"test-{mark}", kafka=broker.bootstrap, database_url=database_url)
    broker.make_topics(settings["JOBS_TOPIC"], settings["JOBS_DLQ_TOPIC"], partitions=PARTITIONS)
    migrate(settings)
    # The processes end before the sink does.
    with Sink() as sink, ExitStack() as running:
        yield Service(broker, sink, {**settings, "SINK_URL": sink.url}, running)


@pytest.fixture(scope="session")
def lonely_settings() -> dict[str, str]:
    """Settings of a service whose Kafka, Postgres and sink are all down."""
    return settings_of("lonely", kafka=NOWHERE, database_url=f"postgresql://jobs:jobs@{NOWHERE}/jobs")


@pytest.fixture(scope="session")
def lonely_web(lonely_settings: dict[str, str]) -> Iterator[Web]:
    """One for all tests that do not stop it."""
    web = Web(instance="web-0", settings=lonely_settings)
    with web:
        yield web


def settings_of(name: str, *, kafka: str, database_url: str) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "DATABASE_URL": database_url,
        "JOBS_TOPIC": name,
        "JOBS_DLQ_TOPIC": f"{name}-dead",
        "JOBS_GROUP": f"{name}-workers",
        "SINK_URL": f"http://{NOWHERE}/deliveries",
        "MAX_ATTEMPTS": str(MAX_ATTEMPTS),
        "BACKOFF_MS": str(BACKOFF_MS),
        "WORKER_CONCURRENCY": "4",
        "SESSION_TIMEOUT_MS": str(SESSION_TIMEOUT_MS),
    }
