"""Services, links, replicas of the submission and faults: what a lab's bench is built on."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from labkit.client import Client, Exchange, Request
from labkit.errors import SubmissionError
from labkit.faults import Faults
from labkit.links import Link
from labkit.loop import Loop
from labkit.processes import Process, run_to_end
from labkit.pulse import Pulse
from labkit.result import EvidenceRow
from labkit.run import Run
from labkit.runtime import Command, Place, Runtime
from labkit.services import Provider, Service
from labkit.submission import MIGRATE, Submission

T = TypeVar("T")
MIGRATE_DEADLINE_S = 600.0


@dataclass(frozen=True)
class Setup:
    """What one arena of a lab consists of.

    replicas   role -> how many processes
    settings   environment variables of the lab -> values
    exclusive  its checks run one after another, since they break things
    width      how many of its checks run at the same time, if they are not exclusive: few where they
               keep processors busy, many where they wait
    skew       process -> seconds by which its clock is ahead (or, below 0, behind)
    prepare    is given the services and the arena's chance before any process starts, to fill them;
               what it returns is the arena's `prepared`
    """

    replicas: Mapping[str, int]
    settings: Mapping[str, str]
    exclusive: bool = False
    width: int = 8
    skew: Mapping[str, float] = field(default_factory=dict)
    prepare: Callable[[Mapping[str, Service], random.Random], Any] | None = None

    @property
    def processes(self) -> list[str]:
        return [f"{role}-{number + 1}" for role, count in self.replicas.items() for number in range(count)]


@dataclass(frozen=True)
class Ground:
    """What all arenas of a grading share.

    starting  lets only as many processes start at once as the machine has processors
    healthy   set when the first of all processes has become healthy
    stopping  set when the grading is being given up
    """

    run: Run
    loop: Loop
    pulse: Pulse
    provider: Provider
    provider_reason: str
    submission: Submission
    runtime: Runtime
    starting: threading.Semaphore
    healthy: threading.Event
    stopping: threading.Event

    @property
    def notes(self) -> tuple[str, ...]:
        """What the report says of how it was graded."""
        return (self.provider_reason, *filter(None, [self.runtime.note]))


class Stopped(Exception):
    """The grading is being given up: leave."""


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
        return Faults(self.services[service], links, self.tell)

    def link(self, process: str, service: str) -> Link:
        return self.links[process, service]

    @property
    def fault(self) -> Exception | None:
        """What went wrong in the kit's own part, if anything: no failure can be charged then."""
        return next((link.fault for link in self.links.values() if link.fault is not None), None)

    def tell(self, who: str, what: str) -> None:
        """Write a line to the timeline."""
        self._timeline.append(EvidenceRow(at=round(self.clock(), 3), who=who, what=what))

    def timeline(self, begin: float, end: float) -> list[EvidenceRow]:
        """What the grader did from `begin` to `end`."""
        return [row for row in self._timeline if row.at is not None and begin <= row.at <= end]

    def start(self, process: str) -> None:
        """Start a process and wait until it is healthy. Raises SubmissionError."""
        with self._ground.starting:
            self._leave_if_stopped()
            self._start_or_doom(self.processes[process])
        self._leave_if_stopped()
        self._ground.healthy.set()
        self.tell(process, "healthy")

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
        """Start again whatever an earlier check left dead. Raises SubmissionError."""
        dead = [name for name, process in self.processes.items() if not process.running]
        if dead:
            self.start_all(dead)

    def _leave_if_stopped(self) -> None:
        if self._ground.stopping.is_set():
            raise Stopped


@contextmanager
def open_arena(ground: Ground, setup: Setup, *, chance: random.Random, first: bool = True) -> Iterator[Arena]:
    """Services side by side, filled, then links, then migrate, then all processes, healthy.

    An arena that is not the `first` holds its processes back until one of the first's is healthy:
    a submission that cannot start is found out once, not many times over.

    Raises SubmissionError where a process does not start, ServiceError where a service does not.
    """
    with ExitStack() as stack:
        kinds = ground.submission.lab.services
        opening = [partial(stack.enter_context, ground.provider.open(kind)) for kind in kinds]
        services = dict(zip(kinds, side_by_side(opening), strict=True))
        processes: dict[str, Process] = {}
        client = stack.enter_context(
            Client.open(
                ground.loop,
                ground.pulse,
                clock=ground.run.clock,
                address_of=lambda name: processes[name].address,
                socket_of=lambda name: processes[name].new_socket(),
            )
        )
        arena = Arena(ground, setup, services, client)
        arena.processes = processes
        stack.callback(_close_processes, arena)
        if setup.prepare is not None:
            arena.prepared = setup.prepare(services, chance)
        if not first:
            arena.wait_for_first()
        _lay_out(ground, arena)
        arena.start_all()
        yield arena


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


def _lay_out(ground: Ground, arena: Arena) -> None:
    roles = {name: name.rpartition("-")[0] for name in arena.setup.processes}
    commands = ground.submission.commands
    names = [name for name, role in roles.items() if role in commands]
    if MIGRATE in commands:
        _migrate(ground, arena)
    places = side_by_side([partial(ground.runtime.open, name) for name in names])
    for name, place in zip(names, places, strict=True):
        command = _command(ground, arena, name, role=roles[name], place=place)
        arena.processes[name] = Process(ground.run, ground.pulse, command, place)


def _migrate(ground: Ground, arena: Arena) -> None:
    with closing(ground.runtime.open(MIGRATE)) as place:
        command = _command(ground, arena, MIGRATE, role=MIGRATE, place=place)
        run_to_end(place, command, deadline_s=MIGRATE_DEADLINE_S)


def _command(ground: Ground, arena: Arena, name: str, *, role: str, place: Place) -> Command:
    env = {**ground.runtime.environment, **arena.setup.settings, "INSTANCE": name, "PYTHONUNBUFFERED": "1"}
    for kind, service in arena.services.items():
        link = Link(
            ground.loop,
            process=name,
            service=kind,
            upstream=service.host.address,
            new_socket=place.new_socket,
            clock=ground.run.clock,
            mends=service.mends,
        )
        link.open()
        arena.links[name, kind] = link
        env |= service.environment(link.address)
    if name in arena.setup.skew:
        env |= ground.runtime.skewed(arena.setup.skew[name])
    return Command(name, ground.submission.commands[role], ground.submission.folder, env)


def _close_processes(arena: Arena) -> None:
    processes = list(arena.processes.values())
    side_by_side([process.kill for process in processes])
    for link in arena.links.values():
        link.close()
    for process in processes:
        process.close()
