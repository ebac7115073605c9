"""How each kind of service is written to, looked into and spoken to, as a submission and as the grader do."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import redis
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from redis.backoff import NoBackoff
from redis.retry import Retry

from labkit.links import Link

PATIENCE_S = 10.0
SOON_S = 3.0
PATIENCE_MS = 10_000


@dataclass(frozen=True)
class Talk:
    """What the trials need of one kind of service.

    write     leaves a mark of this name in it
    holds     whether the mark is there
    identity  what tells a server from one that was started later
    session   a client of a submission's, through a link: each call is one round trip, or an exception
    """

    write: Callable[[Any, str], object]
    holds: Callable[[Any, str], bool]
    identity: Callable[[Any], object]
    session: Callable[[Any, Link], Any]


def new_mark() -> str:
    return f"mark-{uuid.uuid4().hex}"


@contextmanager
def redis_session(service: Any, link: Link) -> Iterator[Callable[[], object]]:
    url = service.environment(link.address)["REDIS_URL"]
    with redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=PATIENCE_S) as client:
        client.exists("nothing")
        yield lambda: client.exists("nothing")  # not PING: that is housekeeping, and not counted


def write_row(service: Any, mark: str) -> None:
    with service.connect(autocommit=True) as connection:
        connection.execute(f'CREATE TABLE "{mark}" (id int)')


def holds_row(service: Any, mark: str) -> bool:
    with service.connect() as connection:
        found = connection.execute("SELECT FROM pg_tables WHERE tablename = %s", [mark])
        return found.fetchone() is not None


def postgres_identity(service: Any) -> object:
    with service.connect() as connection:
        return connection.execute("SELECT pg_postmaster_start_time()").fetchone()


@contextmanager
def postgres_session(service: Any, link: Link) -> Iterator[Callable[[], object]]:
    url = service.environment(link.address)["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True, sslmode="disable", connect_timeout=5) as connection:
        yield lambda: connection.execute("SELECT 1").fetchone()


def make_topic(service: Any, topic: str) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=service.bootstrap)) as admin:
        admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])


def write_record(service: Any, topic: str) -> None:
    make_topic(service, topic)
    with closing(KafkaProducer(bootstrap_servers=service.bootstrap, acks="all")) as producer:
        producer.send(topic, b"mark").get(PATIENCE_S)


def holds_record(service: Any, topic: str) -> bool:
    with closing(KafkaAdminClient(bootstrap_servers=service.bootstrap)) as admin:
        if topic not in admin.list_topics():
            return False
    with closing(reader(service, topic)) as consumer:
        return bool(consumer.poll(timeout_ms=PATIENCE_MS))


def reader(service: Any, topic: str, **options: Any) -> KafkaConsumer:
    """A consumer of all that is in the topic's first partition; it is in no group."""
    consumer = KafkaConsumer(bootstrap_servers=service.bootstrap, auto_offset_reset="earliest", **options)
    consumer.assign([TopicPartition(topic, 0)])
    return consumer


@contextmanager
def kafka_session(service: Any, link: Link) -> Iterator[Callable[[], object]]:
    topic = new_mark()
    make_topic(service, topic)
    bootstrap = service.environment(link.address)["KAFKA_BOOTSTRAP_SERVERS"]
    with closing(KafkaProducer(bootstrap_servers=bootstrap, bootstrap_timeout_ms=1000)) as producer:
        producer.send(topic, b"first").get(PATIENCE_S)
        yield lambda: producer.send(topic, b"next").get(SOON_S)


TALK = {
    "redis": Talk(
        write=lambda service, mark: service.client().set(mark, 1),
        holds=lambda service, mark: bool(service.client().exists(mark)),
        identity=lambda service: service.client().info("server")["run_id"],
        session=redis_session,
    ),
    "postgres": Talk(write=write_row, holds=holds_row, identity=postgres_identity, session=postgres_session),
    "kafka": Talk(
        write=write_record,
        holds=holds_record,
        identity=lambda service: service.cluster_id(20.0),
        session=kafka_session,
    ),
}
