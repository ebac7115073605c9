"""README.md is true: its commands run, its recorded output is what is printed, its schema is the result's.

The first two commands make an environment each; `.ci/run` takes them from README and runs them as they stand.
`pytest tests/test_readme.py --record` writes the recorded output anew.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from labkit.catalogue import find_lab
from labkit.proving.cases import Case, cases_of
from labkit.result import Result

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
RECORDED_WITH = "counts-in-process-memory"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"`((?:grade|lab|pytest)(?: [^`]*)?)`")
# The scaffold limits nothing: README says that its grading ends so.
EXIT_CODES = {
    "grade": 1,
    "grade limiter": 1,
    "grade rate-limiter limiter --keep-going --json result.json --junit report.xml": 1,
}
# Minutes each; `.ci/run` does this one, lab by lab.
RUN_BY_CI = {"lab prove"}


@dataclass(frozen=True)
class Block:
    kind: str
    text: str

    @property
    def commands(self) -> list[str]:
        return [line for line in self.text.splitlines() if line and not line.startswith("#")]


def blocks() -> list[Block]:
    return [Block(kind, text) for kind, text in BLOCK.findall(README.read_text(encoding="utf-8"))]


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run as a reader does who has activated the environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A state folder of the test's own: services that the user keeps are left alone, ours are ended."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield
    shell("lab services down --force", tmp_path)


def test_opens_with_two_commands_of_one_line_each():
    first, second = blocks()[:2]
    setup = "python3 -m venv .venv && .venv/bin/pip install --quiet -e '.[dev]' && "

    assert first == Block("sh", setup + ".venv/bin/grade rate-limiter --reference\n")
    assert second == Block("sh", setup + ".venv/bin/pytest\n")
    assert README.read_text(encoding="utf-8").index("```sh") < 20


def test_ci_runs_the_first_two_as_they_stand():
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")

    assert 'first_grading() { graded "the first grading" commanded 1; }' in script
    assert "tests() { tested side_by_side commanded 2; }" in script
    assert 'PYTEST_ADDOPTS="--numprocesses=auto --dist=loadfile" "$@"' in script
    assert '.venv/bin/lab prove "$lab" || code=$?' in script
    assert "for each in packages first_grading tests style proof engine containers wheel;" in script


@pytest.mark.slow
@pytest.mark.usefixtures("state")
def test_commands_run(tmp_path):
    """Block after block, as a reader would type them; a block of the checkout runs there."""
    for block in [block for block in blocks() if block.kind == "sh"][2:]:
        folder = ROOT if block.text.startswith("# in the checkout") else tmp_path
        for command in block.commands:
            if command.startswith("cd "):
                folder = folder / command.removeprefix("cd ")
                continue
            done = shell(command, folder)
            assert done.returncode == EXIT_CODES.get(command, 0), f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.usefixtures("state")
def test_commands_in_the_text_run(tmp_path):
    project = tmp_path / "limiter"
    template().make(project)
    for command in COMMAND.findall(README.read_text(encoding="utf-8")):
        if command not in RUN_BY_CI:
            done = shell(command, project)
            assert done.returncode == EXIT_CODES.get(command, 0), f"{command}\n{done.stdout}\n{done.stderr}"


def test_recorded_output_is_what_is_printed(tmp_path, request):
    block = next(block for block in blocks() if block.kind == "console")
    command = block.text.splitlines()[0].removeprefix("$ ")
    mutant().make(tmp_path / "limiter")

    done = shell(f"{command} 2>/dev/null", tmp_path / "limiter")
    printed = f"$ {command}\n" + "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())

    if request.config.getoption("--record"):
        README.write_text(README.read_text(encoding="utf-8").replace(block.text, printed), encoding="utf-8")
    assert timeless(printed) == timeless(next(b for b in blocks() if b.kind == "console").text)


def template() -> Case:
    return next(case for case in cases_of(find_lab("rate-limiter"))[0] if case.kind == "template")


def mutant() -> Case:
    return next(case for case in cases_of(find_lab("rate-limiter"))[0] if case.name == RECORDED_WITH)


def timeless(text: str) -> str:
    """Without times, nor the width that they take; which of several proofs was the shortest is chance."""
    text = re.sub(r"\d+\.\d+ s\b", "T s", text)
    text = re.sub(r"web-\d|remaining: \d+|\d+ more", "N", text)
    return re.sub(r" +", " ", text)


def test_the_schema_is_the_results():
    """What is shown can be read, and written again it is the same: no key is missing, none invented."""
    shown = json.loads(next(block.text for block in blocks() if block.kind == "json"))

    assert json.loads(Result.from_json(json.dumps(shown)).to_json()) == shown


def test_links_lead_somewhere():
    targets = re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8"))

    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
