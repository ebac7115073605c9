"""`lab doctor`: tries for real, on this machine, each thing that a grading needs."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from labkit.catalogue import Lab
from labkit.errors import LabkitError
from labkit.services.images import image, variable

KINDS = ("redis", "postgres", "kafka")
_OLDEST_PYTHON = (3, 11)
_MEMORY_MB = 500
_DISK_MB = 500
_ENGINE_TIMEOUT_S = 20


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
    """Try everything, side by side; takes a few seconds. Nothing that was started stays."""
    trials = (_python, _ports, _memory, _disk, *_embedded_trials(), _docker, _git)
    with ThreadPoolExecutor(len(trials)) as pool:
        return tuple(future.result() for future in [pool.submit(trial) for trial in trials])


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


def _embedded_trials() -> Iterator[Callable[[], Finding]]:
    return (partial(_embedded, kind) for kind in KINDS)


def _embedded(kind: str) -> Finding:
    """Start the embedded server and speak to it."""
    from labkit.run import Run
    from labkit.services.embedded import Embedded

    topic = f"embedded {kind.capitalize()}"
    try:
        with Run.open() as run, Embedded(run).open(kind) as service:
            service.ping()
            return Finding(topic, True, f"{service.version} started and answered", gives=frozenset({kind}))
    except (LabkitError, OSError) as error:
        remedy = getattr(error, "remedy", None) or "reinstall portfolio-labkit for this machine's Python"
        return Finding(topic, False, str(error), remedy=remedy)


def _docker() -> Finding:
    """One real container, or why there is none."""
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=_ENGINE_TIMEOUT_S)
    except DockerException as error:
        text, remedy = _why_no_engine(error)
        return Finding("containers", False, text, remedy=remedy)
    try:
        return _container(client)
    except (DockerException, OSError) as error:
        return Finding(
            "containers",
            False,
            f"the Docker engine failed: {error}",
            remedy="try `docker run --rm hello-world`",
        )
    finally:
        client.close()


def _why_no_engine(error: BaseException) -> tuple[str, str]:
    """What keeps us from the engine, in words, and what to do about it."""
    where = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    number = _error_number(error)
    if number == errno.ENOENT:
        return (
            f"no Docker engine: there is no {where}",
            "install Docker and start it; embedded servers do without it",
        )
    if number in (errno.EACCES, errno.EPERM):
        return (
            f"no right to use {where}",
            "add yourself to the group docker: sudo usermod -aG docker $USER; log in again",
        )
    if number == errno.ECONNREFUSED:
        return (
            f"nothing listens at {where}",
            "start the engine: sudo systemctl start docker, or Docker Desktop",
        )
    return f"the engine at {where} does not answer: {error}", "see what `docker info` says"


def _error_number(error: BaseException | None) -> int | None:
    """The system's error behind the wrappings of docker, requests and urllib3."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def _container(client: Any) -> Finding:
    """Run one container of the first image that is here; images are not pulled behind one's back."""
    engine = f"Docker {client.version()['Version']}"
    here = [kind for kind in KINDS if _has_image(client, image(kind))]
    missing = [image(kind) for kind in KINDS if kind not in here]
    pull = "; ".join(f"docker pull {name}" for name in missing)
    if not here:
        remedy = f"{pull}; or name images of a mirror: {', '.join(map(variable, KINDS))}"
        return Finding(
            "containers", False, f"{engine} answers, but none of the images is here", remedy=remedy
        )
    said = client.containers.run(
        image(here[0]), ["labkit"], entrypoint=["echo"], remove=True, network_disabled=True
    )
    if said.strip() != b"labkit":
        return Finding(
            "containers", False, f"a container of {image(here[0])} said {said!r}", remedy="see `docker info`"
        )
    text = f"{engine} ran a container; images here: {', '.join(map(image, here))}"
    return Finding("containers", True, text, remedy=pull or None, gives=frozenset(here))


def _has_image(client: Any, name: str) -> bool:
    from docker.errors import ImageNotFound

    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True
