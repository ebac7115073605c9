"""Where the servers of two providers differ in what a service may notice; each found by asking them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from types import SimpleNamespace
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewPartitions

from labkit.services import UnixAddress

from .talk import PATIENCE_S, make_topic, new_mark, reader
from .trials import NO, YES, Ground, fails, linked

# Of those that Postgres' own documentation lists, the ones that services ask for most.
EXTENSIONS = ("citext", "hstore", "ltree", "pg_stat_statements", "pg_trgm", "pgcrypto", "uuid-ossp")
LONG_FETCH_S = 6.0
SESSION_MS = 1000


def place(service: Any) -> str:
    return "a Unix socket" if isinstance(service.host.address, UnixAddress) else "a TCP port of 127.0.0.1"


def missing_extensions(service: Any) -> str:
    with service.connect() as connection:
        found = {name for (name,) in connection.execute("SELECT name FROM pg_available_extensions")}
    return ", ".join(name for name in EXTENSIONS if name not in found) or "none"


def icu_collations(service: Any) -> str:
    with service.connect() as connection:
        return NO if fails(lambda: connection.execute("SELECT 'a' < 'B' COLLATE \"en-x-icu\"")) else YES


def tls(service: Any) -> str:
    with service.connect() as connection:
        return {"on": YES, "off": NO}[connection.execute("SHOW ssl").fetchone()[0]]


def partitions_of_an_unasked_topic(service: Any) -> str:
    topic = new_mark()
    with producing(service) as producer:
        producer.send(topic, b"first").get(PATIENCE_S)
    with closing(KafkaConsumer(bootstrap_servers=service.bootstrap)) as consumer:
        return str(len(consumer.partitions_for_topic(topic)))


def end_offset(service: Any) -> str:
    topic = new_mark()
    make_topic(service, topic)
    with producing(service, linger_ms=300) as producer:
        for sending in [producer.send(topic, b"record") for _ in range(3)]:
            sending.get(PATIENCE_S)
    with closing(KafkaConsumer(bootstrap_servers=service.bootstrap)) as consumer:
        return str(consumer.end_offsets([TopicPartition(topic, 0)])[TopicPartition(topic, 0)])


def wakes_a_fetch(service: Any) -> str:
    topic = new_mark()
    make_topic(service, topic)
    waits = int(LONG_FETCH_S * 1000)
    with (
        producing(service) as producer,
        closing(reader(service, topic, fetch_max_wait_ms=waits)) as consumer,
    ):
        consumer.poll(timeout_ms=300)  # its fetch waits at the broker from here on
        producer.send(topic, b"news").get(PATIENCE_S)
        sent = time.monotonic()
        while not consumer.poll(timeout_ms=50):
            assert time.monotonic() - sent < 2 * LONG_FETCH_S
        return "at once" if time.monotonic() - sent < LONG_FETCH_S / 4 else "after half its longest wait"


def hides_what_was_aborted(service: Any) -> str:
    topic = new_mark()
    make_topic(service, topic)
    with producing(service, transactional_id=topic) as producer:
        producer.init_transactions()
        for value, end in ((b"aborted", producer.abort_transaction), (b"kept", producer.commit_transaction)):
            producer.begin_transaction()
            producer.send(topic, value).get(PATIENCE_S)
            end()
    read: list[bytes] = []
    with closing(reader(service, topic, isolation_level="read_committed")) as consumer:
        deadline = time.monotonic() + PATIENCE_S
        while b"kept" not in read and time.monotonic() < deadline:
            read += [record.value for records in consumer.poll(200).values() for record in records]
    assert b"kept" in read
    return NO if b"aborted" in read else YES


def names_the_members_of_a_group(service: Any) -> str:
    topic = new_mark()
    make_topic(service, topic)
    with (
        closing(
            KafkaConsumer(
                topic,
                bootstrap_servers=service.bootstrap,
                group_id=topic,
                session_timeout_ms=SESSION_MS,
                heartbeat_interval_ms=SESSION_MS // 3,
            )
        ) as consumer,
        administering(service) as admin,
    ):
        deadline = time.monotonic() + 2 * PATIENCE_S
        while not consumer.assignment():
            assert time.monotonic() < deadline
            consumer.poll(timeout_ms=100)
        return answers(lambda: admin.describe_groups([topic])[topic]["members"])


def adds_partitions(service: Any) -> str:
    topic = new_mark()
    make_topic(service, topic)
    with administering(service) as admin:
        return answers(lambda: [admin.create_partitions({topic: NewPartitions(3)})])


def deletes_records(service: Any) -> str:
    topic = new_mark()
    make_topic(service, topic)
    with producing(service) as producer:
        producer.send(topic, b"old").get(PATIENCE_S)
    with administering(service) as admin:
        return answers(lambda: [admin.delete_records({TopicPartition(topic, 0): 1})])


def answers(question: Callable[[], list[Any]]) -> str:
    """Whether the broker has an answer: it may know none, close the connection, or leave it empty."""
    found: list[Any] = []
    return NO if fails(lambda: found.extend(question())) or not found else YES


@contextmanager
def producing(service: Any, **options: Any) -> Iterator[Any]:
    with closing(KafkaProducer(bootstrap_servers=service.bootstrap, acks="all", **options)) as producer:
        yield producer


@contextmanager
def administering(service: Any) -> Iterator[Any]:
    with closing(KafkaAdminClient(bootstrap_servers=service.bootstrap, request_timeout_ms=3000)) as admin:
        yield admin


# What a row of the table is called, the service that is asked, and the question.
DIFFERENCES: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "Redis: the grader reaches it at": ("redis", place),
    "Postgres: the grader reaches it at": ("postgres", place),
    "Postgres: common extensions that are missing": ("postgres", missing_extensions),
    "Postgres: collations of ICU": ("postgres", icu_collations),
    "Postgres: TLS": ("postgres", tls),
    "Kafka: the grader reaches it at": ("kafka", place),
    "Kafka: partitions of a topic that nobody made": ("kafka", partitions_of_an_unasked_topic),
    "Kafka: end offset after one batch of three records": ("kafka", end_offset),
    "Kafka: a waiting fetch gets a new record": ("kafka", wakes_a_fetch),
    "Kafka: `read_committed` hides what was aborted": ("kafka", hides_what_was_aborted),
    "Kafka: names the members of a group": ("kafka", names_the_members_of_a_group),
    "Kafka: adds partitions to a topic": ("kafka", adds_partitions),
    "Kafka: deletes records": ("kafka", deletes_records),
}


def of(ground: Ground, row: str) -> str:
    """The answer as a process of a submission gets it: Kafka's through a link."""
    kind, ask = DIFFERENCES[row]
    service = ground.services[kind]
    if kind != "kafka":
        return ask(service)
    with linked(ground, kind) as link:
        return ask(SimpleNamespace(bootstrap=str(link.address), host=service.host))
