"""What the grader does to services and processes: each fault is verified, and undone at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from labkit.checks import Inconclusive
from labkit.errors import FaultUnavailable, LabkitError, ServiceDown, ServiceError
from labkit.links import Link
from labkit.services import Service

_PATIENCE_S = 5.0


class Faults:
    """The faults of one service of an arena.

    `tell` writes a line to the arena's timeline. What is done to the server itself takes one that is
    the arena's `own`: others may have it too. A fault that this provider cannot do, or that does
    not take hold, ends the check as inconclusive: it is nobody's failure.
    """

    def __init__(
        self, service: Service, links: list[Link], tell: Callable[[str, str], None], *, own: bool
    ) -> None:
        self._service = service
        self._own = own
        self._links = links
        self._tell = tell

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The server is stopped: connections are refused. Afterwards it runs again with its data."""
        self._do("stopped", self._stop)
        try:
            yield
        finally:
            self._do("started again", self._start)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The server is frozen: it accepts connections and never answers."""
        self._do("paused", self._pause)
        try:
            yield
        finally:
            self._do("resumed", self._resume)

    @contextmanager
    def refused(self) -> Iterator[None]:
        """No process reaches the server, which runs on: connections are cut, and new ones refused."""
        for link in self._links:
            link.refuse()
        self._tell(self._service.kind, "refuses all connections")
        try:
            yield
        finally:
            for link in self._links:
                link.open()
            self._tell(self._service.kind, "can be reached again")

    @contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """Every answer of the server reaches the processes `seconds` later."""
        self._delay(seconds)
        self._tell(self._service.kind, f"slow by {seconds * 1000:.0f} ms")
        try:
            yield
        finally:
            self._delay(0.0)
            self._tell(self._service.kind, "at full speed again")

    def restart(self, *, empty: bool) -> None:
        """Stop the server and start it again, with its data or with none."""
        self._do("stopped", self._stop)
        self._do("started again, empty" if empty else "started again", lambda: self._start(empty=empty))

    def _do(self, what: str, act: Callable[[], None]) -> None:
        if not self._own:
            raise LabkitError(
                f"{self._service.kind} may not be {what} here: other arenas may share it",
                remedy="name it in the `breaks` of the arena's Setup",
            )
        try:
            act()
        except FaultUnavailable as error:
            raise Inconclusive(error.message) from error
        except ServiceError as error:
            raise Inconclusive(f"{self._service.kind} could not be {what}: {error.message}") from error
        self._tell(self._service.kind, what)

    def _stop(self) -> None:
        self._service.host.stop()
        for link in self._links:
            link.refuse()
        self._make_sure(up=False)

    def _start(self, *, empty: bool = False) -> None:
        self._service.host.start(empty=empty)
        for link in self._links:
            link.open()
        self._make_sure(up=True)

    def _pause(self) -> None:
        self._service.host.pause()
        self._make_sure(up=False)

    def _resume(self) -> None:
        self._service.host.resume()
        self._make_sure(up=True)

    def _delay(self, seconds: float) -> None:
        for link in self._links:
            link.delay(seconds)

    def _make_sure(self, *, up: bool) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while self._answers(patience=1.0 if up else 0.1) is not up:
            if time.monotonic() > deadline:
                raise ServiceError("it still answers" if not up else "it does not answer")
            time.sleep(0.01)

    def _answers(self, *, patience: float) -> bool:
        try:
            self._service.ping(timeout=patience)
        except ServiceDown:
            return False
        return True
