"""Opens an arena: services side by side, filled, then links, then the submission's processes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial

from labkit.arena import Arena, side_by_side
from labkit.client import Client
from labkit.ground import Ground, Setup
from labkit.links import Link
from labkit.outsiders import Entrance
from labkit.processes import Process, run_to_end
from labkit.runtime import Command, Place
from labkit.submission import MIGRATE

MIGRATE_DEADLINE_S = 600.0


@contextmanager
def open_arena(ground: Ground, setup: Setup, *, chance: random.Random, first: bool = True) -> Iterator[Arena]:
    """Services side by side, filled, then links, then migrate, then all processes, healthy.

    An arena that is not the `first` holds its processes back until one of the first's is healthy:
    a submission that cannot start is found out once, not many times over.

    Raises SubmissionError where a process does not start, ServiceError where a service does not.
    """
    with ExitStack() as stack:
        kinds = ground.submission.lab.services
        ways = [ground.services.open(kind, broken=kind in setup.breaks) for kind in kinds]
        opening = [partial(stack.enter_context, way) for way in ways]
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
        for variable, make in setup.outsiders.items():
            arena.outsiders[variable] = make(ground.loop, ground.run.clock)
        if setup.prepare is not None:
            arena.prepared = setup.prepare(services, chance)
            stack.callback(getattr(arena.prepared, "close", lambda: None))
        if not first:
            arena.wait_for_first()
        _lay_out(ground, arena)
        arena.start_all()
        yield arena


def _lay_out(ground: Ground, arena: Arena) -> None:
    roles = {name: name.rpartition("-")[0] for name in arena.setup.processes}
    commands = ground.submission.commands
    names = [name for name, role in roles.items() if role in commands]
    if MIGRATE in commands:
        _migrate(ground, arena)
    places = side_by_side([partial(ground.runtime.open, name) for name in names])
    for name, place in zip(names, places, strict=True):
        command = _command(ground, arena, name, role=roles[name], place=place)
        listens = ground.submission.lab.roles[roles[name]].listens
        arena.processes[name] = Process(ground.run, ground.pulse, command, place, listens=listens)


def _migrate(ground: Ground, arena: Arena) -> None:
    with closing(ground.runtime.open(MIGRATE)) as place, ExitStack() as stack:
        # Its ways must not outlive its place, nor meet faults.
        stack.callback(_close_ways, arena, MIGRATE)
        command = _command(ground, arena, MIGRATE, role=MIGRATE, place=place)
        run_to_end(place, command, deadline_s=MIGRATE_DEADLINE_S)


def _command(ground: Ground, arena: Arena, name: str, *, role: str, place: Place) -> Command:
    env = {**ground.runtime.environment, **arena.setup.settings, "INSTANCE": name, "PYTHONUNBUFFERED": "1"}
    env |= _linked(ground, arena, name, place=place)
    env |= _let_out(ground, arena, name, place=place)
    if name in arena.setup.skew:
        env |= ground.runtime.skewed(arena.setup.skew[name])
    return Command(name, ground.submission.commands[role], ground.submission.folder, env)


def _linked(ground: Ground, arena: Arena, name: str, *, place: Place) -> Mapping[str, str]:
    """Links of a process to all services, and the variables that tell it where they are."""
    env: dict[str, str] = {}
    for kind, service in arena.services.items():
        link = Link(
            ground.loop,
            process=name,
            service=kind,
            upstream=service.host.address,
            new_socket=place.new_socket,
            clock=ground.run.clock,
            mend=service.mend,
        )
        link.open()
        arena.links[name, kind] = link
        env |= service.environment(link.address)
    return env


def _let_out(ground: Ground, arena: Arena, name: str, *, place: Place) -> Mapping[str, str]:
    """Entrances for a process to all outside parties, and the variables that tell it where they are."""
    env: dict[str, str] = {}
    for variable, outsider in arena.outsiders.items():
        entrance = Entrance(
            ground.loop, outsider, process=name, clock=ground.run.clock, new_socket=place.new_socket
        )
        entrance.open()
        arena.entrances[name, variable] = entrance
        env[variable] = f"http://{entrance.address}"
    return env


def _close_processes(arena: Arena) -> None:
    processes = list(arena.processes.values())
    side_by_side([process.kill for process in processes])
    _close_ways(arena)
    for process in processes:
        process.close()


def _close_ways(arena: Arena, name: str | None = None) -> None:
    """The links and entrances of one process, or of all."""
    for ways in (arena.links, arena.entrances):
        for key in [key for key in ways if name in (key[0], None)]:
            ways.pop(key).close()
