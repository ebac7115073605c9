"""The place of one isolated process: a network of its own, in which only loopback is, and a container in it.

The network belongs to the porter (see there), which lives as long as the place; containers of the
submission join it, one after another. The grader's end of every connection is a socket of that
network, so links listen and requests arrive at the container's 127.0.0.1, and nothing else does.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import docker
from docker.types import Mount

from labkit import clocks
from labkit.errors import ServiceError
from labkit.isolation import limits, porter
from labkit.isolation.basis import Basis
from labkit.isolation.container import INSTEAD, Contained, talking
from labkit.runtime import Command

PRELOADED = "/run/labkit/libfaketime.so.1"
_MOUNTED = "/run/labkit"
_CONTROL = "grader"
_PORTER_WITHIN_S = 30.0
_ANSWER_WITHIN_S = 20.0
_PORTER_MIB, _PORTER_PROCESSES = 128, 8
_LONGEST_ANSWER = 1 << 16


class Sandbox:
    """A place with no network but what the grader opens in it. Starts its porter when it is made."""

    def __init__(
        self, client: docker.DockerClient, *, name: str, basis: Basis, labels: Mapping[str, str], folder: Path
    ) -> None:
        self._client = client
        self._name = name
        self._basis = basis
        self._labels = dict(labels)
        self._lock = threading.Lock()
        self._stock: list[socket.socket] = []
        self._porter = self._create_porter(folder)
        with _listener(folder / _CONTROL) as listener:
            with talking(f"start the network of {name}"):
                self._porter.start()
            self._control = _accept(listener, self._porter)

    def new_socket(self) -> socket.socket:
        with self._lock:
            if not self._stock:
                self._stock = self._fetch()
            return self._stock.pop()

    def start(self, command: Command, env: Mapping[str, str]) -> Contained:
        """The container starts even if the command cannot be run; it then ends with code 127."""
        with talking(f"create the container of {command.name}"):
            container = self._create(command, env)
        return Contained(container, name=command.name, listening=self._listening)

    def spelled(self, argv: Sequence[str]) -> str:
        return f"run it as it was run: {self._basis.spelled(argv)}"

    def close(self) -> None:
        """End the porter, and with it its container, which the engine then removes."""
        for unused in self._stock:
            unused.close()
        self._control.close()

    def _create(self, command: Command, env: Mapping[str, str]) -> Any:
        basis = self._basis
        mounts = [Mount(basis.folder, str(basis.source), type="bind", read_only=True)] if basis.source else []
        if "FAKETIME" in env:
            mounts.append(Mount(PRELOADED, str(clocks.library()), type="bind", read_only=True))
        return self._client.containers.create(
            basis.image,
            entrypoint=list(command.argv),
            # SIGTERM goes to all of the process's group, as outside
            environment={**env, "TINI_KILL_PROCESS_GROUP": "1"},
            init=True,
            user=basis.user,
            working_dir=basis.folder,
            labels=self._labels,
            mounts=mounts,
            tmpfs=dict.fromkeys(("/tmp", *basis.volumes), limits.tmpfs()),  # noqa: S108 - in the container
            network_mode=f"container:{self._porter.id}",
            **limits.confined(memory_mib=limits.MEMORY_MIB, processes=limits.PROCESSES),
        )

    def _create_porter(self, folder: Path) -> Any:
        program = Path(porter.__file__).read_text(encoding="utf-8")
        with talking(f"create the network of {self._name}"):
            return self._client.containers.create(
                self._basis.runner,
                entrypoint=["python3", "-I", "-S", "-c", program, f"{_MOUNTED}/{_CONTROL}"],
                user=f"{limits.PORTER}:{limits.PORTER}",
                labels=self._labels,
                mounts=[Mount(_MOUNTED, str(folder), type="bind", read_only=True)],
                network_mode="none",
                auto_remove=True,
                **limits.confined(memory_mib=_PORTER_MIB, processes=_PORTER_PROCESSES),
            )

    def _fetch(self) -> list[socket.socket]:
        with self._asking():
            self._control.send(porter.SOCKETS)
            _, descriptors, _, _ = socket.recv_fds(self._control, 1, porter.AT_ONCE)
        if not descriptors:
            raise self._lost()
        return [socket.socket(fileno=descriptor) for descriptor in descriptors]

    def _listening(self) -> list[int]:
        with self._lock, self._asking():
            self._control.send(porter.LISTENING)
            answer = self._control.recv(_LONGEST_ANSWER)
        return [int(port) for port in answer[1:].split()]

    @contextlib.contextmanager
    def _asking(self) -> Any:
        try:
            yield
        except OSError as error:
            raise self._lost() from error

    def _lost(self) -> ServiceError:
        return ServiceError(f"the container that holds the network of {self._name} does not answer any more")


def _listener(path: Path) -> socket.socket:
    """Where the porter, which is another user, will connect; others cannot enter the run's folder."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    path.parent.chmod(0o755)
    path.chmod(0o666)
    listener.listen(1)
    listener.settimeout(0.2)
    return listener


def _accept(listener: socket.socket, porter_container: Any) -> socket.socket:
    deadline = time.monotonic() + _PORTER_WITHIN_S
    while time.monotonic() < deadline and _is_up(porter_container):
        with contextlib.suppress(TimeoutError):
            control, _ = listener.accept()
            control.settimeout(_ANSWER_WITHIN_S)
            return control
    raise ServiceError(
        "a container cannot reach the grader through a Unix socket, so its network cannot be closed",
        remedy="use an engine on this very machine (not Docker Desktop, not a remote one) that sees its "
        f"files, {INSTEAD}",
    )


def _is_up(container: Any) -> bool:
    try:
        container.reload()
    except docker.errors.NotFound:
        return False
    return container.status in ("created", "running")
