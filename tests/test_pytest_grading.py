"""`pytest graders/rate_limiter --submission DIR` gives the verdicts of `grade`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from labkit.catalogue import find_lab
from labkit.proving.cases import cases_of

LAB = find_lab("rate-limiter")
KIT_PYTHON = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": KIT_PYTHON, **variables},
    )


@pytest.fixture
def submission(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The case of this name, written into a folder."""
    cases, _ = cases_of(LAB)
    case = next(case for case in cases if case.name == request.param)
    case.make(tmp_path / "submission")
    return tmp_path / "submission"


def verdicts_in(junit: Path) -> dict[str, str]:
    """Check id -> verdict."""
    kinds = {"failure": "failed", "skipped": "skipped"}
    cases = ElementTree.parse(junit).iter("testcase")  # noqa: S314 - written by our own pytest
    return {
        case.attrib["name"].removeprefix("test_").replace("_", "-"): next(
            (kinds[child.tag] for child in case if child.tag in kinds), "passed"
        )
        for case in cases
    }


@pytest.mark.parametrize(
    "submission", ["sliding-log", "429-is-plain-text", "listens-on-a-fixed-port"], indirect=True
)
def test_verdicts_and_exit_code_are_those_of_grade(submission, tmp_path):
    told = tmp_path / "told.json"
    command = "from labkit.cli import grade_main; grade_main()"
    options = ("--stage", "contract", "--services", "embedded", "--seed", "7", "--json", str(told))
    graded = subprocess.run(
        [sys.executable, "-c", command, str(submission), *options],
        capture_output=True,
        check=False,
        env={**os.environ, "PATH": KIT_PYTHON},
    )

    checks = LAB.grader / "test_contract.py"
    junit = tmp_path / "junit.xml"
    tested = run(
        checks, "--submission", submission, "--services", "embedded", "--seed", "7", f"--junitxml={junit}"
    )

    result = json.loads(told.read_text())
    assert verdicts_in(junit) == {check["id"]: check["verdict"] for check in result["checks"]}
    assert tested.returncode == graded.returncode, tested.stdout
    assert "labkit: rate-limiter, seed 7" in tested.stdout


@pytest.mark.parametrize("submission", ["429-is-plain-text"], indirect=True)
def test_a_failing_check_is_told_in_the_words_of_its_result(submission):
    one = "test_contract.py::test_over_budget_is_429_with_retry_after"

    said = run(LAB.grader / one, "--submission", submission, "--services", "embedded")

    assert said.returncode == 1
    assert "expected application/problem+json as the media type of a 429; observed" in said.stdout


@pytest.mark.parametrize("submission", ["sliding-log"], indirect=True)
def test_a_choice_by_keyword_runs_nothing_else(submission):
    arguments = ("--submission", submission, "--services", "embedded", "-k", "items_echo")

    said = run(LAB.grader, *arguments)

    assert said.returncode == 0, said.stdout
    assert "1 passed" in said.stdout


@pytest.mark.docker
@pytest.mark.parametrize("submission", ["sliding-log"], indirect=True)
def test_a_submission_can_be_isolated(submission):
    arguments = ("--submission", submission, "--services", "embedded", "--isolate", "-k", "ping_names")

    said = run(LAB.grader, *arguments)

    assert said.returncode == 0, said.stdout
    assert "isolated: a container without a network for each process, from " in said.stdout


@pytest.mark.parametrize("submission", ["sliding-log"], indirect=True)
def test_isolation_that_cannot_be_had_is_wrong_use(submission, tmp_path):
    nowhere = f"unix://{tmp_path}/docker.sock"

    said = run(LAB.grader, "--submission", submission, "--isolate", DOCKER_HOST=nowhere)

    assert said.returncode == pytest.ExitCode.USAGE_ERROR
    assert "there is no Docker engine" in said.stderr
    assert "or grade without --isolate" in said.stderr


@pytest.mark.parametrize("submission", ["sliding-log"], indirect=True)
def test_collecting_starts_nothing(submission):
    said = run(LAB.grader.parent, "--submission", submission, "--collect-only", "-q")

    assert said.returncode == 0
    assert "test_cost.py::test_a_decision_takes_two_round_trips_at_most" in said.stdout


def test_a_grading_without_a_submission_is_wrong_use():
    said = run(LAB.grader)

    assert said.returncode == pytest.ExitCode.USAGE_ERROR
    assert "which submission? pytest graders/LAB --submission DIR" in said.stderr


def test_a_submission_that_cannot_be_read_is_wrong_use(tmp_path):
    said = run(LAB.grader, "--submission", tmp_path)

    assert said.returncode == pytest.ExitCode.USAGE_ERROR
    assert "has no lab.toml; `lab new LAB` makes a folder that has one" in said.stderr
