"""Makes a server as new after a loan, or finds that only a new one would be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from labkit.errors import ServiceDown
from labkit.services import Service

if TYPE_CHECKING:
    from labkit.services.postgres import Postgres
    from labkit.services.redis import Redis

# What changes a Redis in ways that outlive the removal of all its keys and scripts.
_RESHAPING = ("config", "acl", "debug", "replicaof", "slaveof", "module", "client|pause", "cluster")
_HARMLESS = ("config|get", "config|help", "acl|whoami", "acl|cat", "acl|list", "module|list", "cluster|info")

Traces = Mapping[str, int]


def traces_of(service: Service) -> Traces:
    """What tells, compared with the same after a loan, whether the server's settings were touched."""
    from labkit.services.redis import Redis

    if not isinstance(service, Redis):
        return {}
    with service.client(socket_timeout=5.0) as client:
        calls = client.info("commandstats")
    names = {name.removeprefix("cmdstat_"): int(stats["calls"]) for name, stats in calls.items()}
    return {
        name: count for name, count in names.items() if name.startswith(_RESHAPING) and name not in _HARMLESS
    }


def renew(service: Service, before: Traces) -> bool:
    """Remove all that a loan left behind; whether the server is as new now.

    A Kafka never is: offsets, transactions and the settings of topics outlive the topics themselves.
    """
    if service.kind == "redis":
        return _wipe_redis(service, before)  # type: ignore[arg-type]
    return service.kind == "postgres" and _wipe_postgres(service)  # type: ignore[arg-type]


def _wipe_redis(service: Redis, before: Traces) -> bool:
    from redis import RedisError

    try:
        if traces_of(service) != before:
            return False
        with service.client(socket_timeout=5.0) as client:
            client.client_kill_filter(skipme=True, _type="normal")
            client.client_kill_filter(_type="pubsub")
            client.flushall()
            client.script_flush()
            client.function_flush()
            return not client.info("keyspace")
    except RedisError:
        return False


def _wipe_postgres(service: Postgres) -> bool:
    from psycopg import Error

    try:
        return _remake_database(service)
    except (Error, ServiceDown):
        return False


def _remake_database(service: Postgres) -> bool:
    """A new database and a new role of the same names; nothing else may have been made or set."""
    from psycopg.sql import SQL, Identifier, Literal

    database, guest = Identifier(service.database), Identifier(service.guest.user)
    password = Literal(service.guest.password)
    with service.connect("postgres", autocommit=True) as connection:
        for statement in (
            SQL("DROP DATABASE {} WITH (FORCE)").format(database),
            SQL("DROP ROLE {}").format(guest),
            SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(guest, password),
            SQL("CREATE DATABASE {} OWNER {}").format(database, guest),
        ):
            connection.execute(statement)
        found = connection.execute(_FOREIGN, [service.database, [service.guest.user, service.admin.user]])
        return found.fetchone() == (0,)


_FOREIGN = """
SELECT (SELECT count(*) FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1', %s))
     + (SELECT count(*) FROM pg_roles WHERE rolname !~ '^pg_' AND rolname <> ALL (%s))
     + (SELECT count(*) FROM pg_file_settings WHERE sourcefile ~ 'postgresql[.]auto[.]conf$')
     + (SELECT count(*) FROM pg_db_role_setting)
     + (SELECT count(*) FROM pg_replication_slots)
"""
