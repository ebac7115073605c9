"""Runs a submission that is not trusted: each process in a container that reaches only what it has to.

`grade --isolate` takes the submission's Dockerfile, or else the kit's runner image with a copy of the
folder. A process is nobody in particular, cannot write but to a small /tmp, has no capabilities and
little memory, and its network is loopback alone: its own port, and those of its services' links.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from types import MappingProxyType

import docker

from labkit import clocks
from labkit.errors import ServiceError
from labkit.isolation import basis
from labkit.isolation.container import INSTEAD, remove, talking
from labkit.isolation.sandbox import PRELOADED, Sandbox
from labkit.run import Run
from labkit.services import engine
from labkit.submission import Submission

__all__ = ["Isolation", "try_out"]

# Each process has two connections to the engine open as long as it runs.
_CONNECTIONS = 100


class Isolation:
    """The runtime of submissions that are not trusted. Open it with `opened`."""

    def __init__(self, run: Run, client: docker.DockerClient, *, from_dockerfile: bool, runner: str) -> None:
        self._run = run
        self._client = client
        self._labels = _labels(run)
        self._from_dockerfile = from_dockerfile
        self._basis: basis.Basis | None = None
        origin = "the submission's Dockerfile" if from_dockerfile else runner
        self.note: str | None = f"isolated: a container without a network for each process, from {origin}"

    @classmethod
    @contextmanager
    def opened(cls, run: Run, submission: Submission) -> Iterator[Isolation]:
        """Make sure that `submission` can be isolated here; nothing is started yet.

        Raises ServiceError or UsageError with what is missing and what to do.
        """
        with _usable_engine() as (client, runner):
            from_dockerfile = basis.has_dockerfile(submission)
            if not from_dockerfile:
                basis.check_runs_without_dockerfile(submission)
            isolation = cls(run, client, from_dockerfile=from_dockerfile, runner=runner)
            try:
                yield isolation
            finally:
                isolation._close()

    @property
    def environment(self) -> Mapping[str, str]:
        """Nothing of the grader's own; the image's is added by the engine."""
        return MappingProxyType({"HOME": "/tmp"})  # noqa: S108 - in the container

    def skewed(self, seconds: float) -> dict[str, str]:
        assert self._basis is not None
        env = clocks.skewed(seconds) if self._basis.preloads else {}
        return {**env, "LD_PRELOAD": PRELOADED} if env else {}

    def set_up(self, submission: Submission) -> None:
        """Build the Dockerfile; the setup command is for where there is none."""
        if self._from_dockerfile:
            self._basis = basis.built(self._client, submission, self._labels)
        else:
            copy = self._run.new_folder("submission")
            self._basis = basis.mounted(self._client, submission, self._labels, copy)

    def open(self, name: str) -> Sandbox:
        assert self._basis is not None
        folder = self._run.new_folder(name)
        return Sandbox(self._client, name=name, basis=self._basis, labels=self._labels, folder=folder)

    def _close(self) -> None:
        """Remove what is left where a grading was given up; the run's reaper would do it later."""
        filters = {"label": [f"{name}={value}" for name, value in self._labels.items()]}
        with talking("remove the submission's containers"):
            for container in self._client.containers.list(all=True, filters=filters, ignore_removed=True):
                remove(container)


def try_out(run: Run) -> str:
    """Start the network of one process and take a socket of it; what came of it, in words.

    Raises ServiceError with what is missing and what to do.
    """
    with _usable_engine() as (client, runner):
        folder = run.new_folder("isolation")
        place = Sandbox(client, name="isolation", basis=basis.bare(), labels=_labels(run), folder=folder)
        with closing(place), place.new_socket():
            return f"a container of {runner} without a network, but with sockets for the grader"


@contextmanager
def _usable_engine() -> Iterator[tuple[docker.DockerClient, str]]:
    """A client of an engine that can isolate processes, and the runner image. Raises ServiceError."""
    _check_platform()
    client = engine.connect(otherwise=INSTEAD, connections=_CONNECTIONS)
    try:
        _check_kernel(client)
        yield client, basis.check_runner(client)
    finally:
        client.close()


def _labels(run: Run) -> dict[str, str]:
    return {"labkit": "1", **run.container_labels(engine.address_for_reaper())}


def _check_platform() -> None:
    if not sys.platform.startswith("linux"):
        raise ServiceError(
            "--isolate needs Linux: sockets cannot be handed through the virtual machine of Docker here",
            remedy=f"grade on a Linux machine, {INSTEAD}",
        )


def _check_kernel(client: docker.DockerClient) -> None:
    with talking("tell what it runs on"):
        theirs = client.info().get("KernelVersion")
    if theirs != platform.release():
        raise ServiceError(
            f"--isolate needs a Docker engine on this very machine; the one at {engine.address()} runs on "
            f"another kernel ({theirs})",
            remedy=f"install Docker Engine here (not Docker Desktop), {INSTEAD}",
        )
