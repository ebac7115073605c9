"""Redis, Postgres and Kafka behind one small interface.

A *service* (`Redis`, `Postgres`, `Kafka`) knows its protocol: what a process must be told to reach
it, and how to make sure that it is up or down. It runs on a *host*, which knows how to start, stop,
kill and pause it: a process of our own (`embedded`), a container (`containers`), or a machine of
the user's (`external`). A *provider* opens services of one kind of host.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from labkit.kafkawire import Mend


@dataclass(frozen=True)
class TcpAddress:
    """A host name or IP address and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class UnixAddress:
    """A Unix-domain socket. Embedded servers use them: no port can be taken by another."""

    path: str

    def __str__(self) -> str:
        return self.path


Address = TcpAddress | UnixAddress


class Host(Protocol):
    """What a service runs on. Every call returns when it is done; failures are ServiceError."""

    @property
    def address(self) -> Address:
        """Where the server listens; stays the same over stop, kill and start."""

    @property
    def log(self) -> list[str]:
        """The last lines that the server wrote."""

    @property
    def memory(self) -> int | None:
        """Bytes that its processes have in memory; None where that cannot be seen."""

    def start(self, *, empty: bool = False) -> None:
        """Start a stopped or killed server, with the data it had, or with none."""

    def stop(self) -> None:
        """End it in order: data is kept."""

    def kill(self) -> None:
        """End it at once, as a power cut would."""

    def pause(self) -> None:
        """Freeze it: connections are accepted by the system, nothing is answered."""

    def resume(self) -> None:
        """Let it go on after `pause`."""

    def close(self) -> None:
        """End it and remove everything it had."""


class Service(Protocol):
    """One running service of one arena."""

    kind: str
    host: Host

    @property
    def mend(self) -> Mend | None:
        """What links ask it in place of each request, where it does otherwise than what it stands for."""

    @property
    def version(self) -> str:
        """Name and version of the server, for the report: "Valkey 9.1.2"."""

    def environment(self, at: TcpAddress) -> dict[str, str]:
        """The variables that tell a process to reach this service through `at`."""

    def ping(self, timeout: float = 1.0) -> None:
        """One real round trip within `timeout` seconds, past every link; raises ServiceDown."""


class Provider(Protocol):
    """Opens services of one kind of host."""

    name: str

    def open(self, kind: str) -> AbstractContextManager[Service]:
        """Start one "redis", "postgres" or "kafka", ready to use; gone at the end of the block."""
