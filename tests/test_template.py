"""Each lab's scaffold as a learner gets it: valid, tested, and shaped like the API.

That it fails its grading with helpful messages is what `lab prove` shows.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from labkit.catalogue import Lab, labs
from labkit.run import Run
from labkit.scaffold import new_project
from labkit.services import Service, UnixAddress
from labkit.services.embedded import Embedded
from labkit.services.images import PINNED
from labkit.services.kafka import Kafka
from labkit.services.postgres import Postgres
from labkit.submission import read_submission

BY_SLUG = dict(labs())
# How a process is told where a service is.
VARIABLES = {"redis": "REDIS_URL", "postgres": "DATABASE_URL", "kafka": "KAFKA_BOOTSTRAP_SERVERS"}
# A process of which there are several.
NUMBERED = re.compile(r"-\d+$")
# What compose runs beside the replicas and the lab's services.
BESIDES = {"payments": {"migrate", "provider"}, "queue-worker": {"sink"}}
# The scaffold's own tests that wait for the learner, and why they fail until then.
WAITING = {
    "rate-limiter": (
        "nothing is limited yet",
        {"test_replicas_share_one_budget", "test_what_is_kept_in_redis_expires"},
    ),
    "cache-layer": (
        "nothing is cached yet",
        {
            "test_a_repeated_get_is_a_hit",
            "test_what_is_kept_in_redis_expires",
            "test_a_cold_product_is_loaded_once",
        },
    ),
    "payments": (
        "no payment is taken yet",
        {
            "test_a_repeated_key_gets_the_first_answer",
            "test_a_payment_is_announced",
            "test_one_key_on_two_replicas_is_one_charge",
            "test_a_payment_whose_process_was_killed_is_finished_by_a_retry",
        },
    ),
    "queue-worker": (
        "nothing is delivered yet",
        {
            "test_a_job_that_was_taken_is_delivered_and_succeeds",
            "test_a_retry_waits_longer_each_time_and_the_last_one_is_the_end",
            "test_what_a_killed_worker_had_in_hand_is_delivered_by_another",
            "test_what_was_there_before_the_first_worker_is_delivered_in_order",
            "test_poison_goes_to_the_dead_letters_as_it_came_and_blocks_nothing",
            "test_nothing_is_committed_beyond_a_job_that_has_not_ended",
        },
    ),
}


@pytest.fixture(scope="module", params=BY_SLUG)
def lab(request: pytest.FixtureRequest) -> Lab:
    return BY_SLUG[request.param]


@pytest.fixture(scope="module")
def project(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("scaffold") / "project"
    return new_project(lab.slug, lab.template, target, {}, interactive=False).folder


@pytest.fixture
def services(lab: Lab) -> Iterator[dict[str, str]]:
    """The lab's services, and the variables that tell the scaffold where they are."""
    with Run.open() as run, ExitStack() as opened:
        provider = Embedded(run)
        yield {VARIABLES[kind]: url(opened.enter_context(provider.open(kind))) for kind in lab.services}


def url(service: Service) -> str:
    address = service.host.address
    if isinstance(service, Postgres):
        login = f"{service.guest.user}:{service.guest.password}"
        if isinstance(address, UnixAddress):
            folder, _, port = address.path.rpartition("/.s.PGSQL.")
            return f"postgresql://{login}@/{service.database}?host={folder}&port={port}"
        return f"postgresql://{login}@{address}/{service.database}"
    if isinstance(service, Kafka):
        return service.bootstrap
    return f"unix://{address.path}" if isinstance(address, UnixAddress) else f"redis://{address}/0"


def text_files(project: Path) -> list[Path]:
    """What was rendered; not what the scaffold's own tests leave behind."""
    made = {"__pycache__", ".pytest_cache"}
    paths = sorted(path for path in project.rglob("*") if path.is_file())
    return [path for path in paths if not made & set(path.parts)]


def test_it_is_a_submission_whatever_is_chosen(lab: Lab, tmp_path: Path) -> None:
    for number, chosen in enumerate(product(*(option.values for option in lab.options))):
        values = dict(zip((option.name for option in lab.options), chosen, strict=True))
        folder = new_project(lab.slug, lab.template, tmp_path / str(number), values, interactive=False).folder

        submission = read_submission(folder)
        assert (submission.lab, submission.options) == (lab, values)


def test_nothing_of_the_template_is_left_unrendered(project: Path) -> None:
    for path in text_files(project):
        assert "cookiecutter" not in path.read_text(encoding="utf-8"), path


def test_python_files_compile_and_say_what_they_are(project: Path) -> None:
    modules = [path for path in text_files(project) if path.suffix == ".py" and path.stat().st_size]

    assert modules
    for path in modules:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_toml_files_are_valid(project: Path) -> None:
    for name in ("lab.toml", "pyproject.toml"):
        assert tomllib.loads((project / name).read_text(encoding="utf-8"))


def test_compose_runs_several_of_each_role_on_the_same_services(lab: Lab, project: Path) -> None:
    services = yaml.safe_load((project / "compose.yaml").read_text(encoding="utf-8"))["services"]

    replicas = {name: service for name, service in services.items() if NUMBERED.search(name)}
    besides = BESIDES.get(lab.slug, set())
    environments = {name: dict(service["environment"]) for name, service in replicas.items()}
    assert {name: environment.pop("INSTANCE") for name, environment in environments.items()} == {
        name: name for name in replicas
    }
    [shared] = {tuple(sorted(environment)) for environment in environments.values()}
    assert set(shared) == {*lab.settings, *(VARIABLES[kind] for kind in lab.services)}
    assert all(environment == environments["web-1"] for environment in environments.values())
    roles = Counter(name.partition("-")[0] for name in replicas)
    assert set(roles) == {name for name, role in lab.roles.items() if role.required}
    assert all(count > 1 for count in roles.values())
    assert all("build" in replica for replica in replicas.values())
    assert set(services) - set(replicas) == {*lab.services, *besides}
    assert set(lab.services) <= set(replicas["web-1"]["depends_on"]) <= {*lab.services, *besides}


def test_compose_gives_what_listens_a_port_of_its_own(lab: Lab, project: Path) -> None:
    services = yaml.safe_load((project / "compose.yaml").read_text(encoding="utf-8"))["services"]

    ports = {name: service.get("ports", []) for name, service in services.items() if NUMBERED.search(name)}
    listening = {name for name in ports if lab.roles[name.partition("-")[0]].listens}
    assert {name for name, given in ports.items() if given} == listening
    assert len({given[0] for given in ports.values() if given}) == len(listening) > 1


def test_the_workflow_grades_and_keeps_the_reports(lab: Lab, project: Path) -> None:
    workflow = yaml.safe_load((project / ".github/workflows/grade.yml").read_text(encoding="utf-8"))

    steps = workflow["jobs"]["grade"]["steps"]
    [grading] = [step["run"] for step in steps if step.get("run", "").startswith("grade ")]
    [upload] = [step for step in steps if "upload-artifact" in step.get("uses", "")]
    written = re.findall(r"--(?:json|junit) (\S+)", grading)
    assert grading.split()[1] == lab.slug
    assert upload["with"]["path"].split() == written


def test_every_file_names_the_images_that_the_kit_grades_on(lab: Lab, project: Path) -> None:
    names = "|".join(image.rpartition(":")[0] for image in PINNED.values())
    named = {
        match
        for path in text_files(project)
        for match in re.findall(rf"(?:{names}):\d+\.\d[\w.-]*", path.read_text(encoding="utf-8"))
    }

    assert named == {PINNED[kind] for kind in lab.services}


def test_the_image_runs_unprivileged_on_a_pinned_base(project: Path) -> None:
    lines = (project / "Dockerfile").read_text(encoding="utf-8").splitlines()

    bases = {line.split()[1] for line in lines if line.startswith("FROM ")}
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+", base) for base in bases)
    [user] = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert "0" not in user.split(":")


def test_requirements_are_exact(project: Path) -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = (project / name).read_text(encoding="utf-8").splitlines()
        wanted = [line for line in lines if line and not line.startswith(("#", "-r "))]
        assert wanted
        assert all(re.fullmatch(r"[a-z-]+(\[[a-z]+\])?==[\d.]+", line) for line in wanted), name


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_lists_every_target(project: Path) -> None:
    listed = subprocess.run(["make", "help"], cwd=project, capture_output=True, text=True, check=True)

    makefile = (project / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert [line.split()[0] for line in listed.stdout.splitlines()] == phony[1].split()


def test_its_own_tests_run_without_services(lab: Lab, project: Path, tmp_path: Path) -> None:
    """What needs none passes; the rest is skipped with a reason that says what to do."""
    cases = own_tests(project, tmp_path, DOCKER_HOST=f"unix://{tmp_path}/no-engine.sock")

    skipped = [reason for reason in cases.values() if reason is not None]
    assert 0 < len(skipped) < len(cases)
    remedies = [f": set {VARIABLES[kind]}, or start Docker" for kind in lab.services]
    assert all("needs " in reason and any(remedy in reason for remedy in remedies) for reason in skipped)


def test_its_own_tests_pass_on_services(
    lab: Lab, project: Path, tmp_path: Path, services: dict[str, str]
) -> None:
    """With the services all pass but those that wait for the learner, and those say so."""
    why, expected = WAITING[lab.slug]

    cases = own_tests(project, tmp_path, **services)

    waiting = {name: reason for name, reason in cases.items() if reason is not None}
    assert set(waiting) == expected
    assert all(why in reason for reason in waiting.values())


def own_tests(project: Path, tmp_path: Path, **environment: str) -> dict[str, str | None]:
    """Run the scaffold's tests: name -> why it was skipped or expected to fail, if it was."""
    inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES.values()}
    report = tmp_path / "report.xml"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"],
        cwd=project,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - written by the line above
        skipped = case.find("skipped")
        found[case.get("name", "")] = None if skipped is None else skipped.get("message", "")
    return found
