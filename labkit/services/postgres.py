"""Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import quote

import psycopg

from labkit.errors import ServiceDown
from labkit.services import Host, TcpAddress, UnixAddress


@dataclass(frozen=True)
class Login:
    """A role that may log in, and its password."""

    user: str
    password: str = field(repr=False)


class Postgres:
    """One Postgres with a database for the submission, which its plain role `guest` owns.

    `admin` is the grader's role. The submission never gets it: a superuser can run programs on the
    server's machine. `options` are further connection parameters of the grader's (libpq's names).
    """

    kind = "postgres"
    mend = None

    def __init__(
        self,
        host: Host,
        *,
        admin: Login,
        guest: Login,
        database: str,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.host = host
        self.database = database
        self.admin = admin
        self.guest = guest
        self._options = dict(options or {})

    @cached_property
    def version(self) -> str:
        with self.connect() as connection:
            version = connection.info.parameter_status("server_version")
        return f"PostgreSQL {version}"

    def environment(self, at: TcpAddress) -> dict[str, str]:
        login = f"{quote(self.guest.user, safe='')}:{quote(self.guest.password, safe='')}"
        return {"DATABASE_URL": f"postgresql://{login}@{at}/{quote(self.database, safe='')}"}

    def connect(self, dbname: str | None = None, **options: Any) -> psycopg.Connection[Any]:
        """A connection for the grader, past every link, to the submission's database or another.

        `options` are those of `psycopg.connect`. Raises ServiceDown if there is none to be had.
        """
        try:
            return psycopg.connect(**{**self._parameters(), "dbname": dbname or self.database, **options})
        except psycopg.OperationalError as error:
            raise self._down(error) from error

    def ping(self, timeout: float = 1.0) -> None:
        # The asynchronous connection is the one whose deadline can be under 2 s.
        try:
            asyncio.run(asyncio.wait_for(self._select(), timeout))
        except TimeoutError as error:
            raise self._down(f"no answer within {timeout:g} s") from error
        except (psycopg.Error, OSError) as error:
            raise self._down(error) from error

    async def _select(self) -> None:
        connection = await psycopg.AsyncConnection.connect(**{**self._parameters(), "dbname": self.database})
        try:
            await connection.execute("SELECT 1")
        finally:
            await connection.close()

    def _parameters(self) -> dict[str, Any]:
        address = self.host.address
        where = (
            {"host": address.path.rpartition("/")[0], "port": int(address.path.rpartition(".")[2])}
            if isinstance(address, UnixAddress)
            else {"host": address.host, "port": address.port}
        )
        return {**self._options, **where, "user": self.admin.user, "password": self.admin.password}

    def _down(self, cause: object) -> ServiceDown:
        return ServiceDown(f"Postgres at {self.host.address} does not answer: {str(cause).splitlines()[0]}")
