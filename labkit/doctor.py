"""`lab doctor`: tries for real, on this machine, each thing that a grading needs."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.catalogue import Lab
from labkit.errors import LabkitError
from labkit.services import Provider

if TYPE_CHECKING:
    from labkit.run import Run

KINDS = ("redis", "postgres", "kafka")
_OLDEST_PYTHON = (3, 11)
_MEMORY_MB = 500
_DISK_MB = 500
_REINSTALL = "reinstall portfolio-labkit for this machine and this Python"


@dataclass(frozen=True)
class Finding:
    """One thing that was tried.

    text      what came of it, in a sentence
    remedy    what to do where it does not work
    required  no grading is possible without it
    gives     the services that labs can have because it works
    """

    topic: str
    works: bool
    text: str
    remedy: str | None = None
    required: bool = False
    gives: frozenset[str] = frozenset()


def examine() -> tuple[Finding, ...]:
    """Try everything, side by side; takes some seconds. Nothing that was started stays."""
    servers = [partial(_embedded, kind) for kind in KINDS]
    single: list[Callable[[], Finding]] = [_python, _ports, _memory, _disk, _git, *servers]
    with ThreadPoolExecutor(len(single) + 1) as pool:
        containers = pool.submit(_containers)
        findings = [pool.submit(trial) for trial in single]
        return (*(finding.result() for finding in findings), *containers.result())


def gradable(findings: Sequence[Finding], labs: Sequence[Lab]) -> tuple[Lab, ...]:
    """The labs that can be graded on a machine of which this was found."""
    if any(finding.required and not finding.works for finding in findings):
        return ()
    given = frozenset[str]().union(*(finding.gives for finding in findings if finding.works))
    return tuple(lab for lab in labs if given.issuperset(lab.services))


def _python() -> Finding:
    found = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info[:2] >= _OLDEST_PYTHON:
        return Finding("Python", True, found, required=True)
    return Finding("Python", False, found, remedy="install Python 3.11 or later", required=True)


def _ports() -> Finding:
    from labkit.ports import HIGHEST, LOOPBACK, LOWEST, free_port

    try:
        with free_port():
            return Finding(
                "ports", True, f"free ones from {LOWEST} to {HIGHEST} at {LOOPBACK}", required=True
            )
    except OSError as error:
        remedy = f"let programs listen at {LOOPBACK}: look at firewalls and at what holds the ports"
        return Finding("ports", False, str(error), remedy=remedy, required=True)


def _memory() -> Finding:
    import psutil

    free = psutil.virtual_memory().available // 2**20
    text = f"{free} MB available"
    if free >= _MEMORY_MB:
        return Finding("memory", True, text)
    return Finding(
        "memory", False, text, remedy=f"close something: below {_MEMORY_MB} MB verdicts may be inconclusive"
    )


def _disk() -> Finding:
    folder = Path(tempfile.gettempdir())
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"labkit")
        free = shutil.disk_usage(folder).free // 2**20
    except OSError as error:
        remedy = "set TMPDIR to a folder that can be written"
        return Finding(
            "disk", False, f"{folder} cannot be written: {error.strerror}", remedy=remedy, required=True
        )
    text = f"{free} MB free in {folder}"
    if free >= _DISK_MB:
        return Finding("disk", True, text, required=True)
    return Finding(
        "disk", False, text, remedy=f"free some: services keep their data there, up to {_DISK_MB} MB"
    )


def _git() -> Finding:
    found = shutil.which("git")
    if found:
        return Finding("git", True, found)
    return Finding(
        "git", False, "not found", remedy="install git if you want to run `lab prove`: mutants are patches"
    )


def _embedded(kind: str) -> Finding:
    from labkit.run import Run
    from labkit.services.embedded import Embedded

    with Run.open() as run:
        return _spoken_to(f"embedded {kind.capitalize()}", Embedded(run), kind)


def _containers() -> tuple[Finding, ...]:
    """The engine, a real container of each image that is here, and isolation; nothing is pulled."""
    from labkit.run import Run
    from labkit.services.containers import Containers
    from labkit.services.engine import docker_status

    status = docker_status(KINDS, ask_registry=True)
    if status.engine is None:
        return (Finding("Docker engine", False, status.problem or "none", remedy=status.remedy),)
    engine = Finding("Docker engine", True, status.engine, remedy=None if status.usable else status.remedy)
    with Run.open() as run, ThreadPoolExecutor(len(KINDS) + 1) as pool:
        provider = Containers(run)
        isolation = pool.submit(_isolation, run)
        opened = pool.map(lambda kind: _spoken_to(f"container of {kind.capitalize()}", provider, kind), KINDS)
        return (engine, *opened, isolation.result())


def _isolation(run: Run) -> Finding:
    """What `grade --isolate` needs beyond an engine."""
    from labkit.isolation import try_out

    try:
        return Finding("isolation", True, try_out(run))
    except LabkitError as error:
        return Finding("isolation", False, error.message, remedy=error.remedy)


def _spoken_to(topic: str, provider: Provider, kind: str) -> Finding:
    """Start a server and make one round trip."""
    try:
        with provider.open(kind) as service:
            service.ping()
            return Finding(topic, True, f"{service.version} answers", gives=frozenset({kind}))
    except LabkitError as error:
        return Finding(topic, False, error.message, remedy=error.remedy)
    except OSError as error:
        return Finding(topic, False, f"its server cannot be started: {error}", remedy=_REINSTALL)
