"""Services that somebody else runs, at addresses that the user gives.

LABKIT_REDIS_URL                 redis://[user:password@]host:port
LABKIT_DATABASE_URL              postgresql://user:password@host:port/name, a role that may create
                                 databases and roles
LABKIT_KAFKA_BOOTSTRAP_SERVERS   host:port[,host:port…]

Everything opened here keeps apart from what else is there and is removed at the end of its block.
A grader that is killed cannot do that: its Redis database or its Postgres database `labkit_…`
stays, and is never taken for empty.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from labkit.errors import FaultUnavailable, ServiceError, UnknownName, UsageError
from labkit.run import Run
from labkit.services import Service, TcpAddress

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed

    from labkit.services.postgres import Login, Postgres
    from labkit.services.redis import Redis

REDIS_URL = "LABKIT_REDIS_URL"
DATABASE_URL = "LABKIT_DATABASE_URL"
KAFKA_BOOTSTRAP_SERVERS = "LABKIT_KAFKA_BOOTSTRAP_SERVERS"
REDIS_DATABASES = 16  # Redis' default


class ExternalHost:
    """A machine that we can only speak to: no fault can be done to it."""

    def __init__(self, kind: str, address: TcpAddress) -> None:
        self._kind = kind
        self._address = address

    @property
    def address(self) -> TcpAddress:
        return self._address

    @property
    def log(self) -> list[str]:
        return []

    @property
    def memory(self) -> int | None:
        return None

    def start(self, *, empty: bool = False) -> None:
        raise self._refusal("emptied" if empty else "started")

    def stop(self) -> None:
        raise self._refusal("stopped")

    def kill(self) -> None:
        raise self._refusal("killed")

    def pause(self) -> None:
        raise self._refusal("paused")

    def resume(self) -> None:
        raise self._refusal("resumed")

    def close(self) -> None:
        """Nothing is ours to end."""

    def _refusal(self, fate: str) -> FaultUnavailable:
        return FaultUnavailable(
            f"the {self._kind} at {self._address} cannot be {fate}: it was given to the grader from outside",
            remedy="grade with containers or embedded servers to have this check judged",
        )


class External:
    """Opens parts of the services that the environment names. May be used from many threads at once."""

    name = "external"

    def __init__(self, run: Run, environment: Mapping[str, str] | None = None) -> None:
        self._run = run
        self._environment = os.environ if environment is None else environment
        self._claims = threading.Lock()  # our own threads must not see each other's attempts as claims

    def open(self, kind: str) -> AbstractContextManager[Service]:
        """Take a part of one service; raises UsageError for an address, ServiceError for a service."""
        openers: dict[str, Callable[[], AbstractContextManager[Service]]] = {
            "redis": self._redis,
            "postgres": self._postgres,
            "kafka": self._kafka,
        }
        if kind not in openers:
            raise UnknownName("service", kind, openers)
        return openers[kind]()

    @contextmanager
    def _redis(self) -> Iterator[Service]:
        from labkit.services.redis import Redis

        url = self._url(REDIS_URL, scheme="redis")
        host = ExternalHost("Redis", _address(url, REDIS_URL, port=6379))
        login = {"username": _plain(url.username), "password": _plain(url.password)}
        databases = [Redis(host, database=number, **login) for number in range(REDIS_DATABASES)]
        databases[0].ping(timeout=5.0)
        with ExitStack() as held:
            with self._claims:
                service = _claim_one(databases, held)
            try:
                yield service
            finally:
                _flush(service)

    @contextmanager
    def _postgres(self) -> Iterator[Service]:
        from labkit.services.postgres import Login, Postgres

        url = self._url(DATABASE_URL, scheme="postgresql")
        name = f"labkit_{self._run.id}_{secrets.token_hex(3)}"
        guest = Login(name, secrets.token_hex(16))
        service = Postgres(
            ExternalHost("Postgres", _address(url, DATABASE_URL, port=5432)),
            admin=Login(_plain(url.username) or "postgres", _plain(url.password) or ""),
            guest=guest,
            database=name,
            options=dict(parse_qsl(url.query)),
        )
        with _own_database(service, guest, home=_plain(url.path[1:]) or "postgres"):
            yield service

    @contextmanager
    def _kafka(self) -> Iterator[Service]:
        from labkit.services.kafka import Kafka

        first = self._given(KAFKA_BOOTSTRAP_SERVERS).split(",")[0].strip()
        address = _address(urlsplit(f"kafka://{first}"), KAFKA_BOOTSTRAP_SERVERS, port=9092)
        service = Kafka(ExternalHost("Kafka", address))
        # A link leads to one broker: on its way, a process would ask that one for what others hold.
        if (brokers := service.brokers(timeout=5.0)) > 1:
            raise ServiceError(
                f"the Kafka at {address} is a cluster of {brokers} brokers",
                remedy=f"set {KAFKA_BOOTSTRAP_SERVERS} to a Kafka of one broker, or let the kit run one",
            )
        yield service

    def _given(self, variable: str) -> str:
        value = self._environment.get(variable, "").strip()
        if not value:
            raise UsageError(
                f"{variable} is not set",
                remedy="set it to the service's address, or let the kit run services",
            )
        return value

    def _url(self, variable: str, *, scheme: str) -> SplitResult:
        url = urlsplit(self._given(variable))
        if url.scheme not in (scheme, scheme.removesuffix("ql")):  # postgres:// is common too
            raise UsageError(f"{variable} must begin with {scheme}://, not with {url.scheme or 'no scheme'}")
        return url


def _address(url: SplitResult, variable: str, *, port: int) -> TcpAddress:
    """Where a URL points to; `port` is the usual one of its service."""
    try:
        if not url.hostname:
            raise ValueError("the host is missing")
        return TcpAddress(url.hostname, url.port or port)
    except ValueError as error:
        raise UsageError(f"{variable} holds no usable address: {error}") from error


def _plain(text: str | None) -> str | None:
    return unquote(text) if text else None


def _claim_one(databases: list[Redis], held: ExitStack) -> Redis:
    """The first empty database that no other grader has; the claim lasts as long as `held`."""
    for service in databases:
        with ExitStack() as attempt:
            if attempt.enter_context(_claim(service)):
                held.push(attempt.pop_all())
                return service
    raise ServiceError(
        f"the Redis at {databases[0].host.address} has no empty database among its first {len(databases)}",
        remedy="give the grader a server of its own, or empty one of them with FLUSHDB",
    )


@contextmanager
def _claim(service: Redis) -> Iterator[bool]:
    """Whether a database is empty and ours for the length of the block.

    The claim is a connection's name, not a key: it is seen by graders on other machines as well,
    stays out of the database, and goes with the grader however that ends. Two that claim at once
    both give way.
    """
    from redis import ResponseError

    name = f"labkit-database-{service.database}"
    with service.client(single_connection_client=True, client_name=name) as holder:
        try:
            claims = [client["name"] for client in holder.client_list()].count(name)
            ours = claims == 1 and holder.dbsize() == 0
        except ResponseError:  # the server has fewer databases
            ours = False
        yield ours


def _flush(service: Redis) -> None:
    from redis import RedisError

    # Without an answer the data stays, and the next grader finds the database in use.
    with contextlib.suppress(RedisError), service.client() as client:
        client.flushdb()


@contextmanager
def _own_database(service: Postgres, guest: Login, *, home: str) -> Iterator[None]:
    """A database with the service's name, owned by `guest`, made and dropped from within `home`."""
    from psycopg import Error
    from psycopg.sql import SQL, Identifier, Literal

    name, role = Identifier(service.database), Identifier(guest.user)
    make = (
        SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, Literal(guest.password)),
        SQL("GRANT {} TO CURRENT_USER").format(role),
        SQL("CREATE DATABASE {} OWNER {}").format(name, role),
    )
    drop = (
        SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name),
        SQL("DROP ROLE IF EXISTS {}").format(role),
    )
    try:
        with service.connect(home, autocommit=True) as connection:
            _make_database(connection, make, at=str(service.host.address))
        yield
    finally:
        # Without an answer it stays; its name says whose it was.
        with contextlib.suppress(Error, ServiceError), service.connect(home, autocommit=True) as connection:
            for statement in drop:
                connection.execute(statement)


def _make_database(connection: Connection[Any], statements: Sequence[Composed], *, at: str) -> None:
    from psycopg import Error

    try:
        for statement in statements:
            connection.execute(statement)
    except Error as error:
        raise ServiceError(
            f"no database of its own on the Postgres at {at}: {error}",
            remedy=f"give {DATABASE_URL} a role with CREATEDB and CREATEROLE",
        ) from error
