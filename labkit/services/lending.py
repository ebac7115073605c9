"""The servers of a pool: each is lent to one borrower at a time, and made as new after each loan."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from enum import StrEnum
from typing import Any

import psutil

from labkit.errors import LabkitError, ServiceError
from labkit.services import Provider, Service
from labkit.services.loans import Facts, facts_of
from labkit.services.pool import IDLE_S
from labkit.services.renewal import Traces, renew, traces_of
from labkit.services.warm import wanted_image

FAULTS = ("start", "stop", "kill", "pause", "resume")


class State(StrEnum):
    FREE = "free"
    LENT = "lent"
    RENEWED = "being renewed"
    LOST = "lost"


class Kept:
    """One server that the keeper has. Its calls wait for each other."""

    def __init__(self, provider: Provider, kind: str) -> None:
        self.kind = kind
        self.image = wanted_image(kind, provider.name)
        self.state = State.FREE
        self.borrower: Facts = {}
        self.problem: str | None = None
        self.facts: Facts = {}
        self._provider = provider
        self._lock = threading.RLock()
        self._stack = ExitStack()
        self._service: Service | None = None
        self._traces: Traces = {}
        self._since = 0.0
        self._broken = False

    def open(self) -> None:
        """Start it. Raises ServiceError."""
        with self._lock, ExitStack() as stack:
            service = stack.enter_context(self._provider.open(self.kind))
            self.facts, self._traces = facts_of(service), traces_of(service)
            self._service, self._since, self._broken = service, time.time(), False
            self._stack = stack.pop_all()

    def close(self) -> None:
        with self._lock, contextlib.suppress(ServiceError):
            self._service = None
            self._stack.close()

    def answers(self) -> bool:
        """Whether it can be lent; if not, only a new one can."""
        try:
            self._running.ping()
        except ServiceError:
            self._broken = True
        return not self._broken

    def make_new(self) -> None:
        """Remove what a loan left, be it by a new server. Raises ServiceError."""
        with self._lock:
            if self._broken or not renew(self._running, self._traces):
                self.close()
                self.open()

    def obey(self, question: Mapping[str, Any]) -> Facts:
        """Do to the server what its borrower asks. Raises ServiceError."""
        with self._lock:
            host, verb = self._running.host, question["do"]
            if verb == "log":
                return {"log": host.log}
            if verb == "memory":
                return {"memory": host.memory}
            if verb not in FAULTS:
                raise ServiceError(f"a keeper cannot {verb} a server")
            self._broken = True
            host.start(empty=bool(question["empty"])) if verb == "start" else getattr(host, verb)()
            return {}

    def standing(self) -> Facts:
        """What `lab services status` tells of it."""
        facts: Facts = {
            "kind": self.kind,
            "version": self.facts.get("version"),
            "since": self._since,
            "state": self.state,
            "borrower": self.borrower,
            "problem": self.problem,
            "memory": None,
        }
        if self.state in (State.FREE, State.LENT):
            with contextlib.suppress(ServiceError):
                facts["memory"] = self._running.host.memory
        return facts

    @property
    def _running(self) -> Service:
        if self._service is None:
            raise ServiceError(f"{self.kind} is not running")
        return self._service


class Keeper:
    """Lends the servers that it has, each to one borrower at a time."""

    def __init__(self, servers: Sequence[Kept]) -> None:
        self._servers = servers
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._last_used = time.monotonic()

    def open(self) -> None:
        """Start all, side by side. Raises the first ServiceError, after all have ended."""
        with ThreadPoolExecutor(max(len(self._servers), 1)) as pool:
            for opening in [pool.submit(server.open) for server in self._servers]:
                opening.result()

    def lend(self, kind: str, image: str | None, borrower: Facts) -> Kept | None:
        """A server of the kind that answers; None where all are lent. One that died is replaced."""
        while (server := self._reserve(kind, image, borrower)) is not None:
            if server.answers():
                return server
            threading.Thread(target=self.take_back, args=(server,)).start()
        return None

    def _reserve(self, kind: str, image: str | None, borrower: Facts) -> Kept | None:
        with self._lock:
            self._last_used = time.monotonic()
            for server in self._servers if not self._ending.is_set() else ():
                if (server.kind, server.image, server.state) == (kind, image, State.FREE):
                    server.state, server.borrower = State.LENT, borrower
                    return server
        return None

    def take_back(self, server: Kept) -> None:
        """Make a server ready for the next borrower."""
        with self._lock:
            if self._ending.is_set():
                return
            server.state, server.borrower = State.RENEWED, {}
            self._last_used = time.monotonic()
        try:
            server.make_new()
            server.state = State.FREE
        except (LabkitError, OSError) as error:
            server.problem, server.state = str(error), State.LOST

    def standing(self) -> Facts:
        """What `lab services status` tells."""
        own = psutil.Process().memory_info().rss
        with ThreadPoolExecutor(max(len(self._servers), 1)) as pool:
            return {"servers": list(pool.map(Kept.standing, self._servers)), "memory": own}

    def end(self, *, force: bool) -> Facts:
        """Lend no more and end; unless by force, not while something is lent."""
        with self._lock:
            lent = [server.borrower for server in self._servers if server.state is State.LENT]
            if force or not lent:
                self._ending.set()
            return {"borrowers": lent}

    def wait(self) -> None:
        """Return when it is to end, or when nobody has borrowed anything for hours."""
        while not self._ending.wait(60):
            with self._lock:
                lent = any(server.state is State.LENT for server in self._servers)
            if not lent and time.monotonic() - self._last_used > IDLE_S:
                self._ending.set()

    def close(self) -> None:
        self._ending.set()
        with ThreadPoolExecutor(max(len(self._servers), 1)) as pool:
            list(pool.map(Kept.close, self._servers))
