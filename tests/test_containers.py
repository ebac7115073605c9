"""Containers: how they are bound and labelled, what is left of them, and why there may be none."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest

from labkit.errors import ServiceError, UnknownName
from labkit.ports import free_port
from labkit.run import Run
from labkit.services import TcpAddress, engine
from labkit.services.containers import ContainerHost, Containers
from labkit.services.engine import PullProgress, docker_status
from labkit.services.images import PINNED, image
from labkit.services.recipes import redis as redis_recipe

NOWHERE = "registry.invalid/redis:1"
CLEARED_WITHIN_S = 10.0


@pytest.fixture
def client() -> Iterator[docker.DockerClient]:
    connected = engine.connect()
    yield connected
    connected.close()


def of_run(client: docker.DockerClient, run: str) -> list[Any]:
    return client.containers.list(all=True, filters={"label": f"labkit.run={run}"}, ignore_removed=True)


@pytest.mark.docker
@pytest.mark.parametrize("kind", ["redis", "postgres", "kafka"])
def test_container_is_labelled_bound_to_loopback_and_removed_with_its_volumes(
    run: Run, client: docker.DockerClient, kind: str
) -> None:
    with Containers(run).open(kind) as service:
        address = service.host.address
        (container,) = of_run(client, run.id)
        volumes = [mount["Name"] for mount in container.attrs["Mounts"]]
        assert container.labels["labkit"] == "1"
        assert isinstance(address, TcpAddress)
        bindings = [binding for port in container.ports.values() for binding in port or ()]
        assert bindings == [{"HostIp": "127.0.0.1", "HostPort": str(address.port)}]
        assert volumes

    assert of_run(client, run.id) == []
    assert not {volume.name for volume in client.volumes.list()}.intersection(volumes)


GRADER = """
import time
from labkit.run import Run
from labkit.services.containers import Containers
run = Run()
print(run.id, flush=True)
with Containers(run).open("redis"):
    time.sleep(60)
"""


def kill_grader_after(moment_s: float) -> str:
    """Start a grader, kill it that long after it opened its run; the run's id."""
    with subprocess.Popen([sys.executable, "-c", GRADER], stdout=subprocess.PIPE, text=True) as grader:
        assert grader.stdout is not None
        run = grader.stdout.readline().strip()
        time.sleep(moment_s)
        grader.kill()
    return run


@pytest.mark.slow
@pytest.mark.docker
def test_grader_killed_at_any_moment_leaves_no_container(client: docker.DockerClient) -> None:
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(kill_grader_after, [0.0, 0.3, 0.45, 0.6, 0.75, 3.0]))
    assert all(runs)

    # Not "until none is there": one that the engine was still making would come after that.
    time.sleep(CLEARED_WITHIN_S)
    assert [container for run in runs for container in of_run(client, run)] == []


@pytest.mark.docker
def test_server_that_ends_as_it_starts_is_reported_with_its_log_and_removed(
    run: Run, client: docker.DockerClient
) -> None:
    provider = Containers(run, images={"postgres": image("redis")})

    with (
        pytest.raises(ServiceError, match=r"Postgres ended as it started:\n.*postgres"),
        provider.open("postgres"),
    ):
        pass

    assert of_run(client, run.id) == []


@pytest.mark.docker
def test_container_whose_port_is_taken_is_reported_and_removed(run: Run, client: docker.DockerClient) -> None:
    with free_port() as lease, socket.create_server(("127.0.0.1", lease.port)):
        address = TcpAddress("127.0.0.1", lease.port)
        labels = run.container_labels()
        host = ContainerHost(redis_recipe(image("redis")), address=address, labels=labels, ready=lambda: None)
        with pytest.raises(ServiceError, match=r"could not start Redis: .*address already in use"):
            host.start()

    assert of_run(client, run.id) == []


@pytest.mark.docker
def test_fault_on_a_server_that_was_removed_behind_our_back_is_a_service_error(
    run: Run, client: docker.DockerClient
) -> None:
    with Containers(run).open("redis") as service:
        (container,) = of_run(client, run.id)
        container.remove(force=True, v=True)
        with pytest.raises(ServiceError, match="could not pause Redis: No such container"):
            service.host.pause()


@pytest.mark.docker
def test_missing_image_is_not_pulled_unasked(run: Run) -> None:
    with pytest.raises(ServiceError) as caught, Containers(run, images={"redis": NOWHERE}).open("redis"):
        pass
    assert caught.value.message == f"the Docker engine has no image {NOWHERE}"
    assert caught.value.remedy == f"docker pull {NOWHERE}, or grade with --services embedded"


@pytest.mark.docker
def test_pull_that_fails_says_why(run: Run) -> None:
    provider = Containers(run, images={"redis": NOWHERE}, on_pull=lambda _: None)

    with (
        pytest.raises(ServiceError, match=f"could not pull {NOWHERE}: .*registry.invalid"),
        provider.open("redis"),
    ):
        pass


@pytest.mark.docker
def test_status_names_the_image_that_is_missing_and_the_variable_that_replaces_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LABKIT_IMAGE_REDIS", NOWHERE)

    quick, thorough = docker_status(["redis"]), docker_status(["redis"], ask_registry=True)

    assert (quick.missing, quick.usable) == ((NOWHERE,), False)
    assert quick.problem == f"the Docker engine has no image {NOWHERE}"
    assert thorough.problem is not None
    assert "its registry does not give it" in thorough.problem
    assert thorough.remedy is not None
    assert thorough.remedy.startswith("set LABKIT_IMAGE_REDIS to an image that this machine can reach")


@pytest.mark.docker
def test_status_of_an_engine_with_all_images_has_no_problem() -> None:
    status = docker_status()

    assert status.usable
    assert status.engine is not None
    assert status.engine.startswith("Docker ")


@pytest.mark.docker
def test_host_override_is_where_services_are_reached(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTCONTAINERS_HOST_OVERRIDE", "localhost")

    with Containers(run).open("redis") as service:
        assert str(service.host.address).startswith("localhost:")
        service.ping()


def no_socket(folder: Path) -> Path:
    return folder / "docker.sock"


def deserted_socket(folder: Path) -> Path:
    path = folder / "docker.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    return path


@pytest.mark.parametrize(
    ("make", "problem", "remedy"),
    [
        (no_socket, "there is no Docker engine: {} does not exist", "install Docker and start it"),
        (deserted_socket, "no Docker engine answers at unix://{}", "start it"),
    ],
)
def test_status_says_why_there_is_no_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path], problem: str, remedy: str
) -> None:
    path = make(tmp_path)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")

    status = docker_status()

    assert (status.engine, status.usable, status.problem) == (None, False, problem.format(path))
    assert status.remedy is not None
    assert status.remedy.startswith(remedy)


def test_status_says_that_the_user_has_no_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = deserted_socket(tmp_path)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    monkeypatch.setattr(os, "access", lambda *_: False)

    status = docker_status()

    assert status.problem == f"this user may not use the Docker engine at {path}"
    assert status.remedy is not None
    assert "usermod -aG docker" in status.remedy


def test_pull_tells_how_far_it_is() -> None:
    events = [
        {"status": "Pulling from library/redis", "id": "8.6.2"},
        {"status": "Pulling fs layer", "progressDetail": {}, "id": "a"},
        {"status": "Downloading", "progressDetail": {"current": 10, "total": 40}, "id": "a"},
        {"status": "Downloading", "progressDetail": {"current": 5, "total": 10}, "id": "b"},
        {"status": "Download complete", "progressDetail": {}, "id": "a"},
        {"status": "Extracting", "progressDetail": {"current": 1, "total": 40}, "id": "a"},
        {"status": "Pull complete", "progressDetail": {}, "id": "b"},
    ]
    told: list[PullProgress] = []
    client: Any = SimpleNamespace(api=SimpleNamespace(pull=lambda *_, **__: iter(events)))

    engine.pull(client, "redis:8.6.2", told.append)

    assert [(step.done, step.total) for step in told] == [
        (0, 0), (0, 0), (10, 40), (15, 50), (45, 50), (45, 50), (50, 50),
    ]  # fmt: skip


def test_image_is_pinned_unless_a_setting_or_a_variable_replaces_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert image("kafka") == PINNED["kafka"]
    monkeypatch.setenv("LABKIT_IMAGE_KAFKA", "mirror/kafka:4")
    assert image("kafka") == "mirror/kafka:4"
    assert image("kafka", {"kafka": "mine/kafka:5"}) == "mine/kafka:5"
    with pytest.raises(UnknownName, match="'kafak'"):
        image("kafak")
