"""What every provider promises of its services, tried on each: a check must not notice which it has."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic

from labkit.errors import FaultUnavailable, ServiceDown, UnknownName
from labkit.run import Run
from labkit.services import Provider, TcpAddress, UnixAddress
from labkit.services.containers import Containers
from labkit.services.embedded import Embedded
from labkit.services.kafka import Kafka
from labkit.services.postgres import Postgres
from labkit.services.redis import Redis

CHECK_TIMEOUT = 0.5


@pytest.fixture(params=["embedded", pytest.param("containers", marks=pytest.mark.docker)])
def provider(request: pytest.FixtureRequest, run: Run) -> Provider:
    return {"embedded": Embedded, "containers": Containers}[request.param](run)


@pytest.fixture
def redis(provider: Provider) -> Iterator[Redis]:
    with provider.open("redis") as service:
        assert isinstance(service, Redis)
        yield service


@pytest.fixture
def postgres(provider: Provider) -> Iterator[Postgres]:
    with provider.open("postgres") as service:
        assert isinstance(service, Postgres)
        yield service


@pytest.fixture
def kafka(provider: Provider) -> Iterator[Kafka]:
    with provider.open("kafka") as service:
        assert isinstance(service, Kafka)
        yield service


def connects(address: TcpAddress | UnixAddress) -> bool:
    """Whether the system itself accepts a connection, whatever the server does."""
    try:
        if isinstance(address, UnixAddress):
            with closing(socket.socket(socket.AF_UNIX)) as probe:
                probe.connect(address.path)
        else:
            socket.create_connection((address.host, address.port), timeout=1).close()
    except OSError:
        return False
    return True


def test_unknown_service_is_named(provider: Provider) -> None:
    with pytest.raises(UnknownName, match="'redi'") as caught, provider.open("redi"):
        pass
    assert caught.value.remedy == "did you mean redis?"


def test_redis_says_what_it_is_and_where(redis: Redis) -> None:
    name, version = redis.version.split()
    assert name in ("Redis", "Valkey")
    assert int(version.split(".")[0]) >= 7
    assert redis.environment(TcpAddress("127.0.0.1", 7)) == {"REDIS_URL": "redis://127.0.0.1:7/0"}


def test_redis_stopped_refuses_and_comes_back_with_its_keys(redis: Redis) -> None:
    where = redis.host.address
    redis.client().set("kept", "1")

    redis.host.stop()
    with pytest.raises(ServiceDown):
        redis.ping(CHECK_TIMEOUT)
    assert not connects(where)

    redis.host.start()
    assert redis.host.address == where
    assert redis.client().get("kept") == b"1"


def test_redis_killed_comes_back_without_what_a_power_cut_loses(redis: Redis) -> None:
    redis.client().set("lost", "1")

    redis.host.kill()
    with pytest.raises(ServiceDown):
        redis.ping(CHECK_TIMEOUT)

    redis.host.start()
    assert redis.client().dbsize() == 0


@pytest.mark.parametrize("running", [True, False])
def test_redis_started_empty_has_no_keys(redis: Redis, running: bool) -> None:
    redis.client().set("old", "1")
    if not running:
        redis.host.stop()

    redis.host.start(empty=True)

    assert redis.client().dbsize() == 0


def test_redis_paused_accepts_and_never_answers(redis: Redis) -> None:
    redis.host.pause()
    with pytest.raises(ServiceDown):
        redis.ping(CHECK_TIMEOUT)
    assert connects(redis.host.address)

    redis.host.resume()
    redis.ping()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_paused_server_can_be_ended(redis: Redis, end: str) -> None:
    redis.host.pause()

    getattr(redis.host, end)()
    assert not connects(redis.host.address)

    redis.host.start()
    redis.ping()


def test_start_of_a_running_server_changes_nothing(redis: Redis) -> None:
    redis.client().set("kept", "1")

    redis.host.start()

    assert redis.client().get("kept") == b"1"


def test_log_has_what_the_server_wrote_last(redis: Redis) -> None:
    redis.host.stop()

    assert any("exit" in line or "bye" in line for line in redis.host.log)


def test_postgres_gives_the_submission_a_plain_role_that_owns_its_database(postgres: Postgres) -> None:
    with postgres.connect() as connection:
        row = connection.execute(
            "SELECT rolname, rolsuper, rolcreaterole FROM pg_roles"
            " JOIN pg_database ON datdba = pg_roles.oid WHERE datname = current_database()"
        ).fetchone()
    user = postgres.environment(TcpAddress("127.0.0.1", 7))["DATABASE_URL"].split("/")[2].split(":")[0]
    assert row == (user, False, False)


def as_submission(postgres: Postgres) -> psycopg.Connection:
    """A connection with what DATABASE_URL tells a process, except the way there."""
    url = postgres.environment(TcpAddress("127.0.0.1", 7))["DATABASE_URL"]
    user, password = url.split("//")[1].split("@")[0].split(":")
    return postgres.connect(user=user, password=password)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_postgres_keeps_every_acknowledged_row(postgres: Postgres, end: str) -> None:
    with as_submission(postgres) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")

    getattr(postgres.host, end)()
    with pytest.raises(ServiceDown):
        postgres.ping(CHECK_TIMEOUT)

    postgres.host.start()
    with as_submission(postgres) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1000,)


def test_postgres_started_empty_has_no_tables_and_the_same_login(postgres: Postgres) -> None:
    with as_submission(postgres) as connection:
        connection.execute("CREATE TABLE old (n int)")

    postgres.host.start(empty=True)

    with as_submission(postgres) as connection:
        assert connection.execute("SELECT to_regclass('old')").fetchone() == (None,)
        connection.execute("CREATE TABLE fresh (n int)")


def test_postgres_paused_accepts_and_never_answers(postgres: Postgres) -> None:
    postgres.host.pause()
    with pytest.raises(ServiceDown):
        postgres.ping(CHECK_TIMEOUT)
    assert connects(postgres.host.address)

    postgres.host.resume()
    postgres.ping()


def make_topic(kafka: Kafka, topic: str) -> None:
    """One partition, so that records have an order; embedded brokers lose what comes before it is there."""
    with closing(KafkaAdminClient(bootstrap_servers=kafka.bootstrap)) as admin:
        admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])


def produce(kafka: Kafka, topic: str, *values: bytes) -> None:
    with closing(KafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")) as producer:
        for sending in [producer.send(topic, value) for value in values]:
            sending.get(timeout=10)


def consume(kafka: Kafka, topic: str, count: int) -> list[bytes]:
    """The first `count` values of a topic, or fewer where 10 s do not bring them."""
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=kafka.bootstrap,
        group_id=f"readers-{uuid.uuid4()}",
        auto_offset_reset="earliest",
        session_timeout_ms=1000,
        heartbeat_interval_ms=300,
    )
    deadline, values = time.monotonic() + 10, []
    with closing(consumer):
        while len(values) < count and time.monotonic() < deadline:
            for records in consumer.poll(timeout_ms=200).values():
                values += [record.value for record in records]
    return values


def test_kafka_gives_a_group_with_a_session_of_a_second_what_was_sent(kafka: Kafka) -> None:
    make_topic(kafka, "orders")
    produce(kafka, "orders", b"one", b"two")

    assert consume(kafka, "orders", 2) == [b"one", b"two"]


def test_kafka_paused_does_not_answer_and_goes_on_with_its_records(kafka: Kafka) -> None:
    make_topic(kafka, "orders")
    produce(kafka, "orders", b"one")

    kafka.host.pause()
    with pytest.raises(ServiceDown):
        kafka.ping(CHECK_TIMEOUT)
    assert connects(kafka.host.address)

    kafka.host.resume()
    kafka.ping()
    assert consume(kafka, "orders", 1) == [b"one"]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_kafka_comes_back_with_its_records_or_says_that_it_cannot(kafka: Kafka, end: str) -> None:
    make_topic(kafka, "orders")
    produce(kafka, "orders", b"one")
    if kafka.version.startswith("Tansu"):
        with pytest.raises(FaultUnavailable, match="without its data"):
            getattr(kafka.host, end)()
    else:
        getattr(kafka.host, end)()
        assert not connects(kafka.host.address)
        kafka.host.start()

    assert consume(kafka, "orders", 1) == [b"one"]


def test_kafka_started_empty_has_no_topics(kafka: Kafka) -> None:
    make_topic(kafka, "orders")
    produce(kafka, "orders", b"old")

    kafka.host.start(empty=True)
    make_topic(kafka, "orders")
    produce(kafka, "orders", b"new")

    assert consume(kafka, "orders", 1) == [b"new"]


@pytest.mark.parametrize("kind", ["redis", "postgres", "kafka"])
def test_nothing_listens_once_the_block_is_left(provider: Provider, kind: str) -> None:
    with provider.open(kind) as service:
        address = service.host.address
        assert connects(address)
    assert not connects(address)
