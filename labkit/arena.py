"""Services, links, replicas of the submission and faults: what a lab's bench is built on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from labkit.checks import Inconclusive
from labkit.client import Client, Exchange, Request
from labkit.errors import SubmissionError
from labkit.faults import Faults
from labkit.ground import Ground, Setup, Stopped
from labkit.links import Link
from labkit.outsiders import Entrance, Outsider
from labkit.processes import Process
from labkit.result import EvidenceRow
from labkit.services import Service

T = TypeVar("T")
_FROZEN_WITHIN_S = 5.0


class Arena:
    """One set of services with the submission's processes on them. Open it with `open_arena`.

    prepared  what the setup's `prepare` has returned
    bursting  to be held by a check that loads the processes for a moment: checks that share the
              arena would only slow each other
    """

    def __init__(self, ground: Ground, setup: Setup, services: Mapping[str, Service], client: Client) -> None:
        self.setup = setup
        self.services = services
        self.processes: dict[str, Process] = {}
        self.links: dict[tuple[str, str], Link] = {}
        self.outsiders: dict[str, Outsider] = {}
        self.entrances: dict[tuple[str, str], Entrance] = {}
        self.prepared: Any = None
        self.bursting = threading.Lock()
        self._ground = ground
        self._client = client
        self._timeline: list[EvidenceRow] = []

    @property
    def options(self) -> Mapping[str, str]:
        """What the submission declares."""
        return self._ground.submission.options

    def clock(self) -> float:
        """Seconds since the grading began."""
        return self._ground.run.clock()

    def late_between(self, begin: float, end: float) -> float:
        """Seconds by which the machine was late between two times of `clock`."""
        return self._ground.pulse.late_between(begin, end)

    def starved_between(self, begin: float, end: float) -> bool:
        """Whether the machine had no processor to spare for a while between two times of `clock`."""
        return self._ground.pulse.starved_between(begin, end)

    def starved_for(self, begin: float, end: float) -> float:
        """Seconds between two times of `clock` in which the machine had no processor to spare."""
        return self._ground.pulse.starved_for(begin, end)

    def change(self, settings: Mapping[str, str]) -> None:
        """Let processes that are started from now on see other values of the lab's settings."""
        for process in self.processes.values():
            process.changed |= settings

    def send(self, request: Request) -> Exchange:
        self._leave_if_stopped()
        return self._client.send(request)

    def begin(self, request: Request) -> Future[Exchange]:
        """One request, without waiting for what comes of it."""
        self._leave_if_stopped()
        return self._client.begin(request)

    def burst(self, requests: Sequence[Request]) -> list[Exchange]:
        """All at once; see Client."""
        self._leave_if_stopped()
        return self._client.burst(requests)

    def paced(self, requests: Sequence[Request], *, every: float) -> list[Exchange]:
        """One each `every` seconds; see Client."""
        self._leave_if_stopped()
        return self._client.paced(requests, every=every)

    def starved_lately(self, exchange: Exchange) -> bool:
        """Whether its answer may be one that a starved process gives; see Client."""
        return self._client.starved_lately(exchange)

    def less_hold(self, exchange: Exchange, begin: float, end: float) -> Exchange:
        """The exchange, judged without the time in which the grader held it; see Client."""
        return self._client.less_hold(exchange, begin, end)

    def sleep(self, seconds: float) -> None:
        """Wait, unless the grading is being given up."""
        if self._ground.stopping.wait(max(seconds, 0.0)):
            raise Stopped

    def wait_for(self, *conditions: Callable[[], bool], within: float) -> bool:
        """Wait until one of them holds, for so many seconds at most; whether one did."""
        deadline = self.clock() + within
        while not any(holds() for holds in conditions):
            if self.clock() > deadline:
                return False
            self.sleep(0.002)
        return True

    def sleep_until(self, moment: float) -> None:
        """Wait until `clock` shows `moment`."""
        self.sleep(moment - self.clock())

    def faults(self, service: str) -> Faults:
        """What can be done to one of the services."""
        links = [link for (_, kind), link in self.links.items() if kind == service]
        return Faults(self.services[service], links, self.tell, own=service in self.setup.breaks)

    def link(self, process: str, service: str) -> Link:
        return self.links[process, service]

    def entrance(self, process: str, variable: str) -> Entrance:
        """Where a process finds the outside party whose address is in that variable."""
        return self.entrances[process, variable]

    @property
    def fault(self) -> Exception | None:
        """What went wrong in the kit's own part, if anything: no failure can be charged then."""
        ways: list[Link | Entrance] = [*self.links.values(), *self.entrances.values()]
        return next((way.fault for way in ways if way.fault is not None), None)

    def tell(self, who: str, what: str) -> None:
        """Write a line to the timeline."""
        self._timeline.append(EvidenceRow(at=round(self.clock(), 3), who=who, what=what))

    def timeline(self, begin: float, end: float) -> list[EvidenceRow]:
        """What the grader did from `begin` to `end`."""
        return [row for row in self._timeline if row.at is not None and begin <= row.at <= end]

    def start(self, process: str) -> None:
        """Start a process and wait until it is healthy, if it is one that listens. Raises SubmissionError."""
        with self._ground.starting:
            self._leave_if_stopped()
            self._start_or_doom(self.processes[process])
        self._leave_if_stopped()
        if self.processes[process].listens:
            self._ground.healthy.set()
        self.tell(process, "healthy" if self.processes[process].listens else "started")

    def expect_running(self, process: str) -> None:
        """Raises SubmissionError, with its last lines, where it has ended by itself."""
        self.processes[process].raise_if_ended()

    def _start_or_doom(self, process: Process) -> None:
        try:
            process.start()
            process.wait_healthy(self._client, self._ground.stopping.is_set)
        except SubmissionError:
            if not self._ground.healthy.is_set():
                self._ground.stopping.set()  # what one process cannot do, the others need not try
            raise

    def kill(self, process: str) -> None:
        self.processes[process].kill()
        self.tell(process, "killed with SIGKILL")

    def pause(self, process: str) -> None:
        """Freeze it with all that it started. Raises Inconclusive where it goes on all the same."""
        frozen = self.processes[process]
        frozen.pause()
        if not self.wait_for(lambda: frozen.frozen, within=_FROZEN_WITHIN_S):
            raise Inconclusive(f"{process} could not be frozen")
        self.tell(process, "frozen with SIGSTOP")

    def resume(self, process: str) -> None:
        self.processes[process].resume()
        self.tell(process, "goes on after SIGCONT")

    def terminate(self, process: str, *, then: Callable[[], None] | None = None) -> int | None:
        """SIGTERM; the exit code, or None where it did not end within 8 s and was killed.

        `then` is called when the signal is sent, before the end is waited for.
        """
        self.tell(process, "sent SIGTERM")
        code = self.processes[process].terminate(then=then)
        self.tell(process, "still running after 8 s" if code is None else f"ended with code {code}")
        return code

    def start_all(self, names: Sequence[str] | None = None) -> None:
        """Start processes side by side. Raises the first one's SubmissionError."""
        side_by_side([partial(self.start, name) for name in names or list(self.processes)])

    def wait_for_first(self) -> None:
        """Wait until some process of the grading is healthy."""
        while not self._ground.healthy.wait(0.01):
            self._leave_if_stopped()

    def heal(self) -> None:
        """Let go on what an earlier check left frozen, start what it left dead. Raises SubmissionError."""
        for name, process in self.processes.items():
            if process.frozen:
                self.resume(name)
        dead = [name for name, process in self.processes.items() if not process.running]
        if dead:
            self.start_all(dead)

    def _leave_if_stopped(self) -> None:
        if self._ground.stopping.is_set():
            raise Stopped


def side_by_side(works: Sequence[Callable[[], T]]) -> list[T]:
    """Do all at the same time; results in order.

    Raises the first failure, after all have ended; Stopped only where nothing else was raised.
    """
    with ThreadPoolExecutor(max_workers=max(len(works), 1)) as pool:
        futures = [pool.submit(work) for work in works]
    failures = [failure for future in futures if (failure := future.exception()) is not None]
    for failure in sorted(failures, key=lambda failure: isinstance(failure, Stopped)):
        raise failure
    return [future.result() for future in futures]
