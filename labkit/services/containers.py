"""Services in containers: the official images on a Docker engine."""

from __future__ import annotations

import ipaddress
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from docker.errors import APIError
from testcontainers.core.container import DockerContainer

from labkit.errors import ServiceDown, ServiceError, UnknownName
from labkit.ports import LOOPBACK, free_port
from labkit.run import Run
from labkit.services import Service, TcpAddress, engine, recipes
from labkit.services.images import image
from labkit.services.recipes import Recipe

LABEL = "labkit"
START_S = 60.0
STOP_S = 20
LOG_LINES = 20
SIGKILLED = 128 + 9


class ContainerHost:
    """Runs one container; `ready` is its service's round trip, which raises ServiceDown until it is up.

    The port on this machine is chosen once and bound by number: one that the engine chooses would
    be another after each start, and links would lead nowhere.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        address: TcpAddress,
        labels: Mapping[str, str],
        ready: Callable[[], None],
    ) -> None:
        self._recipe = recipe
        self._address = address
        self._labels = dict(labels)
        self._ready = ready
        self._container: DockerContainer | None = None

    @property
    def address(self) -> TcpAddress:
        return self._address

    @property
    def log(self) -> list[str]:
        if self._container is None:
            return []
        with engine.translated(f"read the log of {self._recipe.name}"):
            written: bytes = self._wrapped.logs(tail=LOG_LINES)
        return written.decode(errors="replace").splitlines()

    @property
    def memory(self) -> int | None:
        """As `docker stats` counts it: without what the system may drop from its file cache."""
        with engine.translated(f"measure {self._recipe.name}"):
            found = self._wrapped.client.api.stats(self._wrapped.id, stream=False, one_shot=True)
        memory = found.get("memory_stats", {})
        if "usage" not in memory:
            return None
        return int(memory["usage"]) - int(memory.get("stats", {}).get("inactive_file", 0))

    def start(self, *, empty: bool = False) -> None:
        """Start it if it does not run; with `empty`, in a new container without the old one's data."""
        if empty:
            self.close()
        with engine.translated(f"start {self._recipe.name}"):
            if self._container is None:
                self._container = self._create()
            elif self._state()["Status"] != "running":
                self._wrapped.start()
        self._wait_until_ready()

    def stop(self) -> None:
        with engine.translated(f"stop {self._recipe.name}"):
            self._thaw()
            self._wrapped.stop(timeout=STOP_S)
            state = self._state()
        if state["Running"] or state["ExitCode"] == SIGKILLED:
            raise self._fault(f"does not stop within {STOP_S} s")

    def kill(self) -> None:
        """As a power cut; a paused one lives on for some milliseconds first, as engines kill none that is."""
        with engine.translated(f"kill {self._recipe.name}"):
            self._thaw()
            self._wrapped.kill()
            self._wrapped.wait(timeout=STOP_S)
            self._expect_status("exited")

    def pause(self) -> None:
        with engine.translated(f"pause {self._recipe.name}"):
            self._wrapped.pause()
            self._expect_status("paused")

    def resume(self) -> None:
        with engine.translated(f"resume {self._recipe.name}"):
            self._wrapped.unpause()
            self._expect_status("running")

    def close(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            with engine.translated(f"remove {self._recipe.name}"):
                _remove(container)

    @property
    def _wrapped(self) -> Any:
        if self._container is None:
            raise ServiceError(f"{self._recipe.name} is not running")
        return self._container.get_wrapped_container()

    def _create(self) -> DockerContainer:
        recipe = self._recipe
        container = DockerContainer(recipe.image, env=dict(recipe.environment))
        container.image = recipe.image  # as it was looked for: without the prefix that a setting may add
        if recipe.command:
            container.with_command(list(recipe.command))
        # Its type knows plain numbers only; the engine also takes the address to bind.
        container.ports[f"{recipe.port}/tcp"] = (_bind_address(self._address.host), self._address.port)  # type: ignore[assignment]
        container.with_kwargs(labels=self._labels)
        try:
            return container.start()
        except BaseException:
            _remove(container)
            raise

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                return self._ready()
            except ServiceDown as error:
                if self._status() != "running":
                    raise self._fault("ended as it started") from error
                if time.monotonic() > deadline:
                    raise self._fault(f"was not ready within {START_S:.0f} s: {error.message}") from error
            time.sleep(0.02)

    def _status(self) -> str:
        with engine.translated(f"look at {self._recipe.name}"):
            return str(self._state()["Status"])

    def _state(self) -> dict[str, Any]:
        wrapped = self._wrapped
        wrapped.reload()
        return dict(wrapped.attrs["State"])

    def _thaw(self) -> None:
        if self._state()["Paused"]:
            self._wrapped.unpause()

    def _expect_status(self, status: str) -> None:
        found = self._state()["Status"]
        if found != status:
            raise self._fault(f"should be {status} but is {found}")

    def _fault(self, text: str) -> ServiceError:
        lines = "".join(f"\n  {line}" for line in self.log[-5:])
        return ServiceError(f"the container of {self._recipe.name} {text}{':' if lines else ''}{lines}")


class Containers:
    """Opens services as containers of one run. May be used from many threads at once.

    images   images by kind ("redis", "postgres", "kafka") that replace the pinned ones
    on_pull  is told how a pull goes, from the thread that opens the service; without it
             nothing is pulled and a missing image is a ServiceError
    """

    name = "containers"

    def __init__(
        self,
        run: Run,
        *,
        images: Mapping[str, str] = MappingProxyType({}),
        on_pull: engine.OnPull | None = None,
    ) -> None:
        self._run = run
        self._images = images
        self._on_pull = on_pull
        self._lock = threading.Lock()
        self._labels: Mapping[str, str] | None = None
        # Each start has its own time to be ready, of which too many at once would leave none enough.
        self._starting = threading.Semaphore(max(os.cpu_count() or 1, 2))

    @contextmanager
    def open(self, kind: str) -> Iterator[Service]:
        """Start one service; raises ServiceError where the engine or the image is not to be had."""
        openers = {"redis": self._redis, "postgres": self._postgres, "kafka": self._kafka}
        if kind not in openers:
            raise UnknownName("service", kind, openers)
        name = image(kind, self._images)
        self._prepare(name)
        with free_port() as lease:
            service = openers[kind](name, TcpAddress(engine.host(), lease.port))
            try:
                with self._starting:
                    service.host.start()
                yield service
            finally:
                service.host.close()

    def _prepare(self, name: str) -> None:
        """Make sure of the engine, of whoever clears up after us, and of the image."""
        client = engine.connect()
        try:
            with self._lock:
                if self._labels is None:
                    engine.settle_ryuk(client)
                    self._labels = {LABEL: "1", **self._run.container_labels(engine.address_for_reaper())}
            if not engine.has_image(client, name):
                if self._on_pull is None:
                    raise engine.lacks(name)
                engine.pull(client, name, self._on_pull)
        finally:
            client.close()

    def _run_on(self, recipe: Recipe, address: TcpAddress, ready: Callable[[], None]) -> ContainerHost:
        assert self._labels is not None
        return ContainerHost(recipe, address=address, labels=self._labels, ready=ready)

    # A lab uses one or two of these; the clients of the others take 0.15 s each to import.

    def _redis(self, name: str, address: TcpAddress) -> Service:
        from labkit.services.redis import Redis

        service = Redis(self._run_on(recipes.redis(name), address, lambda: service.ping()))
        return service

    def _postgres(self, name: str, address: TcpAddress) -> Service:
        from labkit.services.postgres import Login, Postgres

        admin = Login("labkit", secrets.token_hex(16))
        guest = Login(recipes.GUEST, secrets.token_hex(16))

        def ready() -> None:
            service.ping()
            recipes.furnish(service, guest)

        host = self._run_on(recipes.postgres(name, admin), address, ready)
        service = Postgres(host, admin=admin, guest=guest, database=recipes.DATABASE)
        return service

    def _kafka(self, name: str, address: TcpAddress) -> Service:
        from labkit.services.kafka import Kafka

        cluster = recipes.new_cluster_id()

        def ready() -> None:
            if service.cluster_id() != cluster:
                raise ServiceDown(f"another server answers at {address}")

        host = self._run_on(recipes.kafka(name, cluster, address), address, ready)
        service = Kafka(host, version=f"Apache Kafka ({name})")
        return service


def _remove(container: DockerContainer) -> None:
    """Remove a container and its volumes, unless somebody else does or did."""
    gone_or_going = (404, 409)
    try:
        container.stop()
    except APIError as error:
        if error.status_code not in gone_or_going:
            raise


def _bind_address(host: str) -> str:
    """Loopback, unless the user told us to reach the engine's machine from outside."""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    return LOOPBACK if local else "0.0.0.0"  # noqa: S104
