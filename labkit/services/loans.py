"""How a grading borrows a service from the keeper of a pool: one connection is one loan.

Both sides write JSON, one object a line. The first question is {"want": "loan" | "status" | "end", …};
on a loan, {"do": VERB, …} follow. An answer is an object, with "error" in it where it failed. The loan
ends with the connection, so however the grading ends.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import Any

from labkit.errors import FaultUnavailable, LabkitError, ServiceDown, ServiceError
from labkit.services import Address, Host, Service, TcpAddress, UnixAddress

# Longer than the slowest thing that a keeper does for an answer: to start a container.
PATIENCE_S = 120.0

Facts = dict[str, Any]


class Line:
    """A connection to the keeper. May be used from many threads at once."""

    def __init__(self, path: str, *, patience: float = PATIENCE_S) -> None:
        """Connect to the socket at `path`; each answer may take `patience` seconds. Raises OSError."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(patience)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        self._answers = self._socket.makefile("r", encoding="utf-8")
        self._lock = threading.Lock()

    def ask(self, **question: Any) -> Facts:
        """The keeper's answer; raises the ServiceError that it answers with, or that it is gone."""
        try:
            with self._lock:
                self._socket.sendall(json.dumps(question).encode() + b"\n")
                answer: Facts = json.loads(self._answers.readline())
        except (OSError, ValueError) as error:
            raise ServiceDown(
                "the keeper of the warm services does not answer",
                remedy="`lab services down` clears up after it",
            ) from error
        raise_if_error(answer)
        return answer

    def close(self) -> None:
        with contextlib.suppress(OSError):  # the keeper was faster
            self._socket.shutdown(socket.SHUT_RDWR)  # who waits for an answer waits no more
        with self._lock:
            self._answers.close()
            self._socket.close()


class LentHost:
    """A host of the keeper's, which does to the server what it is asked for."""

    def __init__(self, line: Line, address: Address) -> None:
        self._line = line
        self._address = address

    @property
    def address(self) -> Address:
        return self._address

    @property
    def log(self) -> list[str]:
        return list(self._line.ask(do="log")["log"])

    @property
    def memory(self) -> int | None:
        memory: int | None = self._line.ask(do="memory")["memory"]
        return memory

    def start(self, *, empty: bool = False) -> None:
        self._line.ask(do="start", empty=empty)

    def stop(self) -> None:
        self._line.ask(do="stop")

    def kill(self) -> None:
        self._line.ask(do="kill")

    def pause(self) -> None:
        self._line.ask(do="pause")

    def resume(self) -> None:
        self._line.ask(do="resume")

    def close(self) -> None:
        """Give it back."""
        self._line.close()


def facts_of(service: Service) -> Facts:
    """What somebody else has to know of a service to use it."""
    address = service.host.address
    where = [address.path] if isinstance(address, UnixAddress) else [address.host, address.port]
    facts = {
        "kind": service.kind,
        "version": service.version,
        "mends": service.mend is not None,
        "address": where,
    }
    for name in ("admin", "guest"):
        if login := getattr(service, name, None):
            facts[name] = [login.user, login.password]
    return facts | {"database": getattr(service, "database", None)}


def address_in(facts: Facts) -> Address:
    where = facts["address"]
    return UnixAddress(*where) if len(where) == 1 else TcpAddress(*where)


# A lab uses one or two of these; the clients of the others take 0.15 s each to import.


def service_on(host: Host, facts: Facts) -> Service:
    """The service of these facts, on another way to its host."""
    if facts["kind"] == "redis":
        from labkit.services.redis import Redis

        return Redis(host, database=facts["database"])
    if facts["kind"] == "kafka":
        from labkit.services.kafka import Kafka

        return Kafka(host, version=facts["version"], mends=facts["mends"])
    from labkit.services.postgres import Login, Postgres

    admin, guest = Login(*facts["admin"]), Login(*facts["guest"])
    return Postgres(host, admin=admin, guest=guest, database=facts["database"])


def in_words(error: LabkitError) -> Facts:
    """An error as an answer that `Line.ask` raises again."""
    return {"error": {"type": type(error).__name__, "message": error.message, "remedy": error.remedy}}


def raise_if_error(answer: Facts) -> None:
    if "error" in answer:
        said = answer["error"]
        known = {kind.__name__: kind for kind in (ServiceDown, FaultUnavailable)}
        raise known.get(said["type"], ServiceError)(said["message"], remedy=said["remedy"])
