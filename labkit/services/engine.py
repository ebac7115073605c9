"""The Docker engine: whether it can be used here, why not, and which images it lacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import requests
from docker.constants import DEFAULT_MAX_POOL_SIZE
from docker.errors import APIError, DockerException, ImageNotFound

from labkit.errors import ServiceError
from labkit.ports import LOOPBACK
from labkit.services.images import PINNED, image, variable

EMBEDDED = "or grade with --services embedded"


@dataclass(frozen=True)
class EngineStatus:
    """What `docker_status` found.

    engine   name, version and address of the engine, None where none answers
    problem  why containers cannot be started right now, in a sentence; None if they can
    remedy   what to do about it
    missing  the images that would have to be pulled first
    """

    engine: str | None
    problem: str | None = None
    remedy: str | None = None
    missing: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        return self.problem is None


@dataclass(frozen=True)
class PullProgress:
    """How far the pull of an image is, in bytes; `total` grows while the engine learns of layers."""

    image: str
    done: int
    total: int


OnPull = Callable[[PullProgress], None]


def docker_status(
    kinds: Iterable[str] = PINNED, *, ask_registry: bool = False, timeout: float = 5.0
) -> EngineStatus:
    """Whether containers for `kinds` of services can be started here without pulling anything.

    With `ask_registry` the engine is made to look for a missing image in its registry, so that the
    remedy is one that works. Each call to the engine has `timeout` seconds. Never raises.
    """
    try:
        client = connect(timeout=timeout)
    except ServiceError as error:
        return EngineStatus(None, error.message, error.remedy)
    try:
        with translated("look for images"):
            engine = f"Docker {client.version()['Version']} at {address()}"
            missing = tuple(name for name in map(image, kinds) if not has_image(client, name))
            if not missing:
                return EngineStatus(engine)
            problem, remedy = _about_missing(client, missing, ask_registry=ask_registry)
            return EngineStatus(engine, problem, remedy, missing)
    except ServiceError as error:
        return EngineStatus(None, error.message, error.remedy)
    finally:
        client.close()


def address() -> str:
    """Where the engine is: what DOCKER_HOST or Docker's current context names, else its usual socket."""
    from testcontainers.core.docker_client import get_docker_host

    return get_docker_host() or "unix:///var/run/docker.sock"


def host() -> str:
    """The name or address under which this machine reaches the ports that the engine publishes."""
    override = os.environ.get("TESTCONTAINERS_HOST_OVERRIDE") or os.environ.get("TC_HOST")
    url = urlsplit(address())
    return override or (url.hostname if url.scheme in ("tcp", "http", "https", "ssh") else None) or LOOPBACK


def connect(
    *, timeout: float = 60.0, otherwise: str = EMBEDDED, connections: int = DEFAULT_MAX_POOL_SIZE
) -> docker.DockerClient:
    """A client of an engine that answers; raises ServiceError with the reason and what to do.

    `otherwise` ends the remedy: how to go on without an engine. `connections` are kept open at most.
    """
    where = address()
    _check_socket(where, otherwise)
    environment = {**os.environ, "DOCKER_HOST": where}
    try:
        client = docker.from_env(timeout=timeout, environment=environment, max_pool_size=connections)
        client.ping()
    except (DockerException, requests.RequestException, OSError) as error:
        raise ServiceError(
            f"no Docker engine answers at {where}",
            remedy=f"start it (Docker Desktop, or `sudo systemctl start docker`), {otherwise}",
        ) from error
    return client


def has_image(client: docker.DockerClient, name: str) -> bool:
    """Whether the engine has the image already."""
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True


def lacks(name: str) -> ServiceError:
    """The error for an image that is not there and that nobody asked to pull."""
    return ServiceError(f"the Docker engine has no image {name}", remedy=f"docker pull {name}, {EMBEDDED}")


def pull(client: docker.DockerClient, name: str, on_progress: OnPull) -> None:
    """Pull an image, telling `on_progress` of every step of it; raises ServiceError."""
    done: dict[str, int] = {}
    total: dict[str, int] = {}
    with translated(f"pull {name}"):
        for event in client.api.pull(name, stream=True, decode=True):
            if "error" in event:
                raise ServiceError(
                    f"{name} cannot be pulled: {event['error']}", remedy=_mirror_remedy([name])
                )
            _count(event, done, total)
            on_progress(PullProgress(name, sum(done.values()), sum(total.values())))


def settle_ryuk(client: docker.DockerClient) -> None:
    """Start testcontainers' reaper where its image is at hand and the user has not switched it off.

    It outlives even a machine's init that kills all our processes. Without it the run's own
    reaper clears up; pulling its image for that would be a surprise.
    """
    from testcontainers.core.config import testcontainers_config as settings
    from testcontainers.core.container import Reaper
    from testcontainers.core.exceptions import ContainerConnectException

    if settings.ryuk_disabled:
        return
    if not has_image(client, settings.ryuk_image):
        settings.ryuk_disabled = True
        return
    try:
        with translated("start Ryuk"):
            Reaper.get_instance()
    except (ServiceError, ContainerConnectException) as error:
        raise ServiceError(
            f"testcontainers' reaper does not start: {error}",
            remedy="set TESTCONTAINERS_RYUK_DISABLED=true: the kit clears up by itself",
        ) from error


def address_for_reaper() -> str:
    """The engine in the run's words: "" is what the environment names, with its certificates."""
    return "" if os.environ.get("DOCKER_HOST") else address()


@contextmanager
def translated(action: str, *, otherwise: str = EMBEDDED) -> Iterator[None]:
    """What the engine or the way to it throws becomes a ServiceError that names the action."""
    try:
        yield
    except (DockerException, requests.RequestException, OSError) as error:
        reason = error.explanation if isinstance(error, APIError) and error.explanation else error
        raise ServiceError(
            f"the Docker engine could not {action}: {reason}", remedy=f"see `docker info`, {otherwise}"
        ) from error


def _count(event: dict[str, Any], done: dict[str, int], total: dict[str, int]) -> None:
    """Note one event of a pull. A layer that is complete or unpacked counts in full."""
    layer, detail = event.get("id"), event.get("progressDetail") or {}
    if layer is None:
        return
    if event.get("status") == "Downloading" and detail.get("total"):
        done[layer], total[layer] = detail.get("current", 0), detail["total"]
    elif event.get("status") in ("Download complete", "Pull complete"):
        done[layer] = total.get(layer, 0)


def _check_socket(where: str, otherwise: str) -> None:
    """The two faults of a Unix socket that a look at it tells; what a connection says is less clear."""
    if not where.startswith("unix://"):
        return
    path = where.removeprefix("unix://")
    if not Path(path).exists():
        raise ServiceError(
            f"there is no Docker engine: {path} does not exist",
            remedy=f"install Docker and start it, or set DOCKER_HOST to where it is, {otherwise}",
        )
    if not os.access(path, os.R_OK | os.W_OK):
        raise ServiceError(
            f"this user may not use the Docker engine at {path}",
            remedy=f"sudo usermod -aG docker $USER, then log in again, {otherwise}",
        )


def _about_missing(
    client: docker.DockerClient, missing: tuple[str, ...], *, ask_registry: bool
) -> tuple[str, str]:
    """The problem and the remedy for images that are not there."""
    names = " and ".join(missing)
    problem = f"the Docker engine has no image {names}"
    if ask_registry:
        try:
            client.images.get_registry_data(missing[0])
        except (APIError, requests.RequestException) as error:
            reason = getattr(error, "explanation", None) or error
            return f"{problem}, and its registry does not give it: {reason}", _mirror_remedy(missing)
    commands = " && ".join(f"docker pull {name}" for name in missing)
    return problem, f"{commands}, {EMBEDDED}"


def _mirror_remedy(names: Iterable[str]) -> str:
    kinds = [kind for kind in PINNED if image(kind) in set(names)]
    variables = " and ".join(variable(kind) for kind in kinds) or "LABKIT_IMAGE_*"
    return f"set {variables} to an image that this machine can reach, {EMBEDDED}"
