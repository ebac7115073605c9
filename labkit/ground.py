"""What arenas are made of: how one is set up, and what all of a grading share."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from labkit.loop import Loop
from labkit.outsiders import Outsider
from labkit.pulse import Pulse
from labkit.run import Run
from labkit.runtime import Runtime
from labkit.services import Service
from labkit.services.common import Common
from labkit.submission import Submission

MakeOutsider = Callable[[Loop, Callable[[], float]], Outsider]


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
               what it returns is the arena's `prepared`; if that has a `close`, it is called at the end
    breaks     kinds of services that its checks stop, freeze or empty: of these it has servers of its
               own, while others may be shared by the arenas of a grading
    outsiders  environment variable -> makes the outside party whose address it holds, from the kit's
               loop and the grading's clock; a process has an address of its own for each
    """

    replicas: Mapping[str, int]
    settings: Mapping[str, str]
    exclusive: bool = False
    width: int = 8
    skew: Mapping[str, float] = field(default_factory=dict)
    breaks: Collection[str] = ()
    prepare: Callable[[Mapping[str, Service], random.Random], Any] | None = None
    outsiders: Mapping[str, MakeOutsider] = field(default_factory=dict)

    @property
    def processes(self) -> list[str]:
        return [f"{role}-{number + 1}" for role, count in self.replicas.items() for number in range(count)]


@dataclass(frozen=True)
class Ground:
    """What all arenas of a grading share.

    services  opens them for arenas
    starting  lets only as many processes start at once as the machine has processors
    healthy   set when the first of all processes has become healthy
    stopping  set when the grading is being given up
    """

    run: Run
    loop: Loop
    pulse: Pulse
    services: Common
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
