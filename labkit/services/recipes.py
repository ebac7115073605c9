"""How each server is run in its official image: command, variables, and what it needs once it is up."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labkit.services import TcpAddress

if TYPE_CHECKING:
    from labkit.services.postgres import Login, Postgres

GUEST, DATABASE = "app", "app"


@dataclass(frozen=True)
class Recipe:
    """How one server is run.

    name         what messages call it: "Redis"
    port         where it listens inside the container
    command      arguments for the image's entry point; none for its own
    environment  the variables that it is given
    """

    name: str
    image: str
    port: int
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def redis(image: str) -> Recipe:
    """Keeps its data over an orderly stop only: a kill loses what a power cut would."""
    settings = {
        "save": "",
        "shutdown-on-sigterm": "save",
        # "local" would mean from inside the container
        "enable-debug-command": "yes",
    }
    options = [word for name, value in settings.items() for word in (f"--{name}", value)]
    return Recipe("Redis", image, 6379, ("redis-server", *options))


def postgres(image: str, admin: Login) -> Recipe:
    """`furnish` makes the submission's role in it once it is up."""
    settings = {
        "max_connections": "200",
        "shared_buffers": "32MB",
        # Safe against every fault that a grader makes, all of which leave the kernel running.
        "fsync": "off",
        "full_page_writes": "off",
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    environment = {
        "POSTGRES_USER": admin.user,
        "POSTGRES_PASSWORD": admin.password,
        "POSTGRES_DB": DATABASE,
        "POSTGRES_INITDB_ARGS": "--encoding=UTF8 --locale=C.UTF-8 --wal-segsize=1 --no-sync",
    }
    return Recipe("Postgres", image, 5432, ("postgres", *options), environment)


def furnish(service: Postgres, guest: Login) -> None:
    """Give the submission its plain role, which owns the database, unless that was done before."""
    from psycopg import sql

    with service.connect() as connection:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [guest.user]).fetchone() is None:
            role = sql.Identifier(guest.user)
            password = sql.Literal(guest.password)
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, password))
            database = sql.Identifier(service.database)
            connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, role))


def new_cluster_id() -> str:
    """A cluster's name as Kafka wants it: 16 bytes in the URL's base64, without padding."""
    return f"labkit{secrets.token_hex(8)[:15]}A"


def kafka(image: str, cluster: str, address: TcpAddress) -> Recipe:
    """One node in KRaft mode that tells clients to come to `address`.

    The broker has a second listener for its talk with itself: inside the container, `address`
    leads nowhere.
    """
    environment = {
        "CLUSTER_ID": cluster,
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:29093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "INTERNAL",
        "KAFKA_LISTENERS": "INTERNAL://localhost:29092,CONTROLLER://localhost:29093,PLAINTEXT://0.0.0.0:9092",
        "KAFKA_ADVERTISED_LISTENERS": f"INTERNAL://localhost:29092,PLAINTEXT://{address}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        **_ALONE,
        **_QUICK,
    }
    return Recipe("Kafka", image, 9092, environment=environment)


# Internal topics as one node can hold them; one partition each is made faster than fifty.
_ALONE: Mapping[str, str] = {
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "1",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_NUM_PARTITIONS": "1",
}
# Short waits, and a JVM that is up soon rather than fast later. A broker that was killed is let in
# again only after its old session: 9 s unless told otherwise.
_QUICK: Mapping[str, str] = {
    "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    "KAFKA_BROKER_SESSION_TIMEOUT_MS": "3000",
    "KAFKA_BROKER_HEARTBEAT_INTERVAL_MS": "500",
    "KAFKA_HEAP_OPTS": "-Xms128m -Xmx256m",
    "KAFKA_JVM_PERFORMANCE_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}
