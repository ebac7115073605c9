"""`lab doctor`: what it finds, what it advises, and whether it says that grading is possible."""

import os
import shutil
import tempfile
import time
from collections import namedtuple
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from labkit import catalogue, doctor, isolation, ports
from labkit.catalogue import find_lab
from labkit.cli.ending import exit_code
from labkit.cli.lab import lab
from labkit.doctor import Finding, gradable
from labkit.errors import ServiceDown, ServiceError
from labkit.services import engine
from labkit.services.containers import Containers
from labkit.services.embedded import Embedded
from labkit.services.engine import EngineStatus

LAB = find_lab("rate-limiter")
REDIS = Finding("embedded Redis", True, "Valkey answers", gives=frozenset({"redis"}))
NO_ENGINE = Finding("Docker engine", False, "there is no Docker engine", remedy="install Docker")
PYTHON = Finding("Python", True, "3.11", required=True)


class Service:
    version = "Valkey 9.1.2"

    def ping(self, timeout: float = 1.0) -> None:
        assert timeout > 0


class DeadService(Service):
    def ping(self, timeout: float = 1.0) -> None:
        raise ServiceDown(f"Redis does not answer within {timeout} s", remedy="look at its log")


def opening(service):
    """In the place of a provider's `open`."""

    @contextmanager
    def open_service(self, kind):  # noqa: ARG001
        if isinstance(service, BaseException):
            raise service
        yield service

    return open_service


def failing(error):
    def fail(*args, **kwargs):  # noqa: ARG001
        raise error

    return fail


@pytest.mark.parametrize(
    ("findings", "possible"),
    [
        ([PYTHON, REDIS, NO_ENGINE], True),
        ([PYTHON, Finding("embedded Redis", False, "no"), NO_ENGINE], False),
        ([PYTHON, Finding("container of Redis", True, "", gives=frozenset({"redis"}))], True),
        ([PYTHON, Finding("embedded Kafka", True, "", gives=frozenset({"kafka"}))], False),
        ([REDIS, Finding("ports", False, "none", required=True)], False),
        ([REDIS, Finding("git", False, "not found")], True),
    ],
)
def test_a_lab_can_be_graded_where_each_of_its_services_works_in_some_way(findings, possible):
    assert gradable(findings, [LAB]) == ((LAB,) if possible else ())


@pytest.mark.parametrize(("works", "code"), [(True, 0), (False, 3)])
def test_the_exit_code_says_whether_grading_is_possible(works, code, monkeypatch, capsys):
    monkeypatch.setattr(catalogue, "labs", lambda: {LAB.slug: LAB})
    redis = REDIS if works else Finding("embedded Redis", False, "no binary", remedy="reinstall it")
    monkeypatch.setattr(doctor, "examine", lambda: (PYTHON, redis, NO_ENGINE))

    assert exit_code(lab, ["doctor"]) == code

    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert "!  Docker engine   there is no Docker engine" in printed
    assert "                   install Docker" in printed
    assert printed[-1] == (
        "can be graded here: rate-limiter" if works else "cannot be graded here: rate-limiter"
    )


def test_an_old_python_is_a_fault(monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 9, 2))

    finding = doctor._python()

    assert not finding.works
    assert finding.required
    assert finding.remedy == "install Python 3.11 or later"


def test_ports_that_cannot_be_had_are_a_fault(monkeypatch):
    monkeypatch.setattr(ports, "free_port", failing(OSError("no free TCP port")))

    finding = doctor._ports()

    assert (finding.works, finding.required, finding.text) == (False, True, "no free TCP port")
    assert "127.0.0.1" in finding.remedy


@pytest.mark.parametrize(("megabytes", "works"), [(4000, True), (100, False)])
def test_little_memory_is_told(megabytes, works, monkeypatch):
    memory = namedtuple("memory", "available")(megabytes * 2**20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)

    finding = doctor._memory()

    assert (finding.works, finding.text) == (works, f"{megabytes} MB available")
    assert bool(finding.remedy) is not works


@pytest.mark.parametrize(("megabytes", "works"), [(4000, True), (100, False)])
def test_a_full_disk_is_told(megabytes, works, monkeypatch):
    usage = namedtuple("usage", "free")(megabytes * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    finding = doctor._disk()

    assert finding.works is works
    assert bool(finding.remedy) is not works


def test_a_temporary_folder_that_cannot_be_written_is_a_fault(monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", failing(OSError(30, os.strerror(30))))

    finding = doctor._disk()

    assert (finding.works, finding.required) == (False, True)
    assert "Read-only file system" in finding.text
    assert finding.remedy == "set TMPDIR to a folder that can be written"


def test_without_git_only_prove_is_out_of_reach(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)

    finding = doctor._git()

    assert (finding.works, finding.required) == (False, False)
    assert "lab prove" in finding.remedy


def test_an_embedded_server_is_spoken_to(monkeypatch):
    monkeypatch.setattr(Embedded, "open", opening(Service()))

    finding = doctor._embedded("redis")

    assert finding == Finding("embedded Redis", True, "Valkey 9.1.2 answers", gives=frozenset({"redis"}))


@pytest.mark.parametrize(
    ("service", "text", "remedy"),
    [
        (DeadService(), "Redis does not answer within 1.0 s", "look at its log"),
        (
            ServiceError("there is no embedded Redis", remedy="use containers"),
            "there is no embedded Redis",
            "use containers",
        ),
        (
            PermissionError(13, "Permission denied"),
            "[Errno 13] Permission denied",
            "reinstall portfolio-labkit",
        ),
    ],
)
def test_a_server_that_does_not_work_gives_nothing(service, text, remedy, monkeypatch):
    monkeypatch.setattr(Embedded, "open", opening(service))

    finding = doctor._embedded("redis")

    assert not finding.works
    assert not finding.gives
    assert text in finding.text
    assert remedy in finding.remedy


def test_without_an_engine_the_reason_is_told_once(monkeypatch):
    status = EngineStatus(None, "this user may not use the Docker engine", "log in again")
    monkeypatch.setattr(engine, "docker_status", lambda *_, **__: status)

    assert doctor._containers() == (
        Finding("Docker engine", False, "this user may not use the Docker engine", remedy="log in again"),
    )


def test_with_an_engine_each_service_is_tried_in_a_container(monkeypatch):
    status = EngineStatus("Docker 28", "no image postgres:18", "docker pull postgres:18", ("postgres:18",))
    monkeypatch.setattr(engine, "docker_status", lambda *_, **__: status)
    monkeypatch.setattr(Containers, "open", opening(Service()))
    monkeypatch.setattr(isolation, "try_out", lambda _: "a container without a network")

    found, *services, isolated = doctor._containers()

    assert found == Finding("Docker engine", True, "Docker 28", remedy="docker pull postgres:18")
    assert [finding.topic for finding in services] == [
        "container of Redis",
        "container of Postgres",
        "container of Kafka",
    ]
    assert {kind for finding in services for kind in finding.gives} == set(doctor.KINDS)
    assert isolated == Finding("isolation", True, "a container without a network")


@pytest.mark.docker
def test_isolation_is_tried_with_a_container(run):
    client = engine.connect()

    finding = doctor._isolation(run)

    assert finding == Finding(
        "isolation",
        True,
        "a container of labkit-runner-python:1 without a network, but with sockets for the grader",
    )
    of_run = {"label": f"labkit.run={run.id}"}
    deadline = time.monotonic() + 10
    while client.containers.list(all=True, filters=of_run, ignore_removed=True):
        assert time.monotonic() < deadline, "the container is still there"
        time.sleep(0.05)
    client.close()


@pytest.mark.docker
def test_a_missing_runner_image_is_told_with_the_command_that_makes_it(run, monkeypatch):
    monkeypatch.setenv("LABKIT_IMAGE_RUNNER_PYTHON", "mirror.invalid/runner:1")

    finding = doctor._isolation(run)

    assert (finding.works, finding.required) == (False, False)
    assert finding.text == "the Docker engine has no image mirror.invalid/runner:1"
    command, advice = finding.remedy.split(", ", maxsplit=1)
    program, *options, folder = command.split()
    assert (program, options) == ("docker", ["build", "-t", "mirror.invalid/runner:1"])
    assert (Path(folder) / "Dockerfile").is_file()
    assert advice == "or grade without --isolate, if you trust the submission"


@pytest.mark.slow
def test_this_machine_can_grade(capsys):
    assert exit_code(lab, ["doctor"]) == 0

    printed = capsys.readouterr().out
    assert "embedded Redis" in printed
    assert f"\ncan be graded here: {', '.join(catalogue.labs())}\n" in printed
