"""Redis, or a server that speaks its protocol."""

from __future__ import annotations

from functools import cached_property
from typing import Any
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from labkit.errors import ServiceDown
from labkit.services import Host, TcpAddress, UnixAddress


class Redis:
    """One Redis. `database` is the number of the database that belongs to whoever opened it."""

    kind = "redis"
    mend = None

    def __init__(
        self, host: Host, *, database: int = 0, username: str | None = None, password: str | None = None
    ) -> None:
        self.host = host
        self.database = database
        self._username = username
        self._password = password

    @cached_property
    def version(self) -> str:
        info = self._info()
        if "valkey_version" in info:
            return f"Valkey {info['valkey_version']}"
        return f"Redis {info['redis_version']}"

    def environment(self, at: TcpAddress) -> dict[str, str]:
        return {"REDIS_URL": f"redis://{self._login()}{at}/{self.database}"}

    def client(self, **options: Any) -> redis.Redis:
        """A client for the grader, past every link; `options` are those of `redis.Redis`.

        It does not retry: a refused command is an answer here, and waiting would hide it.
        """
        address = self.host.address
        where: dict[str, Any] = (
            {"unix_socket_path": address.path}
            if isinstance(address, UnixAddress)
            else {"host": address.host, "port": address.port}
        )
        login = {"username": self._username, "password": self._password, "db": self.database}
        return redis.Redis(**{**where, **login, "retry": Retry(NoBackoff(), 0), **options})

    def ping(self, timeout: float = 1.0) -> None:
        probe = self.client(socket_timeout=timeout, socket_connect_timeout=timeout)
        try:
            with probe:
                probe.ping()
        except (redis.RedisError, OSError) as error:
            raise ServiceDown(f"Redis at {self.host.address} does not answer: {error}") from error

    def _info(self) -> dict[str, Any]:
        with self.client(socket_timeout=5.0) as client:
            try:
                return dict(client.info("server"))
            except redis.RedisError as error:
                raise ServiceDown(f"Redis at {self.host.address} does not answer: {error}") from error

    def _login(self) -> str:
        if self._password is None:
            return ""
        return f"{quote(self._username or '', safe='')}:{quote(self._password, safe='')}@"
