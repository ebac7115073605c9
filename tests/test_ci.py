"""`.ci/run` asks again what a busy machine may explain, says so at its end, and lets nothing else pass.

The script runs as it stands, in a checkout of which only its own parts are real.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOUDLY = "ci: !!! passed only when asked again:"
# Plays any of the kit's commands: notes how it was called, and ends with the next of its exit codes.
PLAYER = """#!{python}
import json, sys
from pathlib import Path
here = Path(__file__)
with (here.parent / "calls").open("a") as calls:
    print(here.name, *sys.argv[1:], file=calls)
script = here.with_suffix(".json")
codes = json.loads(script.read_text())
script.write_text(json.dumps(codes[1:]))
if here.name == "pytest" and codes[0] == 1:
    cache = Path(".pytest_cache/v/cache")
    cache.mkdir(parents=True, exist_ok=True)
    failed = {{"tests/test_a.py::test_b[c d]": True, "tests/test_e.py": True}}
    (cache / "lastfailed").write_text(json.dumps(failed))
sys.exit(codes[0])
"""


class Checkout:
    """A folder with `.ci/run`, two labs, and players for all commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commands = folder / ".venv/bin"
        self.commands.mkdir(parents=True)
        (folder / ".ci").mkdir()
        shutil.copy(ROOT / ".ci/run", folder / ".ci/run")
        for lab in ("first_lab", "second_lab"):
            (folder / "labs" / lab / "reference/plain").mkdir(parents=True)
        (self.commands / "python").symlink_to(sys.executable)
        (folder / "README.md").write_text("```\n.venv/bin/grade\n```\n```\n.venv/bin/pytest\n```\n")

    def plays(self, command: str, *codes: int) -> None:
        player = self.commands / command
        player.write_text(PLAYER.format(python=sys.executable))
        player.chmod(0o755)
        player.with_suffix(".json").write_text(json.dumps(codes))

    def run(self, part: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", ".ci/run", part], cwd=self.folder, capture_output=True, text=True, check=False
        )

    @property
    def calls(self) -> list[str]:
        return (self.commands / "calls").read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def again_in(ended: subprocess.CompletedProcess[str]) -> list[str]:
    """What is listed loudly at the end."""
    _, _, told = ended.stdout.partition(LOUDLY)
    return [line.removeprefix("ci: !!!   ") for line in told.splitlines() if line.startswith("ci: !!!   ")]


def test_what_passes_at_once_is_asked_once_and_leaves_nothing_to_say(checkout):
    checkout.plays("pytest", 0)
    checkout.plays("lab", 0, 0)

    for part in ("tests", "proof"):
        ended = checkout.run(part)
        assert (ended.returncode, LOUDLY in ended.stdout) == (0, False), ended
    assert checkout.calls == ["pytest", "lab prove first-lab", "lab prove second-lab"]


def test_tests_that_failed_are_run_once_more_by_themselves(checkout):
    checkout.plays("pytest", 1, 0)

    ended = checkout.run("tests")

    assert ended.returncode == 0
    assert checkout.calls == ["pytest", "pytest --last-failed --last-failed-no-failures=none"]
    assert again_in(ended) == ["tests/test_a.py::test_b[c d]", "tests/test_e.py"]


@pytest.mark.parametrize(("codes", "code"), [((1, 1), 1), ((2,), 2), ((4,), 4), ((1, 5), 5)])
def test_a_second_failure_and_what_is_no_failed_test_are_final(checkout, codes, code):
    checkout.plays("pytest", *codes)

    ended = checkout.run("tests")

    assert (ended.returncode, len(checkout.calls)) == (code, len(codes))
    assert LOUDLY not in ended.stdout
    assert "ci: FAILED in tests" in ended.stdout


def test_failures_of_an_earlier_run_are_not_taken_for_this_ones(checkout):
    checkout.plays("pytest", 1, 0)
    checkout.run("tests")
    checkout.plays("pytest", 3)

    assert checkout.run("tests").returncode == 3


def test_only_labs_that_are_not_proven_are_proven_again(checkout):
    checkout.plays("lab", 0, 1, 0)

    ended = checkout.run("proof")

    assert ended.returncode == 0
    assert checkout.calls == ["lab prove first-lab", "lab prove second-lab", "lab prove second-lab"]
    assert again_in(ended) == ["the proof of second-lab"]


@pytest.mark.parametrize(("codes", "code"), [((1, 0, 1), 1), ((0, 3, 3), 3), ((2,), 2)])
def test_what_is_not_proven_twice_or_breaks_is_final(checkout, codes, code):
    checkout.plays("lab", *codes)

    ended = checkout.run("proof")

    assert (ended.returncode, len(checkout.calls)) == (code, len(codes))


@pytest.mark.parametrize(
    ("codes", "code", "again"),
    [
        ((0,), 0, []),
        ((1,), 1, []),
        ((3,), 3, []),
        ((2, 0), 0, ["the first grading, the 2. time"]),
        ((2, 2, 2, 0), 0, ["the first grading, the 4. time"]),
        ((2, 1), 1, []),
        ((2, 2, 2, 2), 2, []),
    ],
)
def test_only_an_inconclusive_grading_is_asked_again_up_to_three_times(checkout, codes, code, again):
    checkout.plays("grade", *codes)

    ended = checkout.run("first_grading")

    assert (ended.returncode, len(checkout.calls), again_in(ended)) == (code, len(codes), again)


def test_each_reference_is_graded_in_containers(checkout):
    checkout.plays("pytest", 0)
    checkout.plays("grade", 2, 0, 0)

    ended = checkout.run("containers")

    first, second = (
        f"grade {lab}-lab --reference plain --services containers" for lab in ("first", "second")
    )
    assert (ended.returncode, checkout.calls) == (0, ["pytest -m docker", first, first, second])
    assert again_in(ended) == ["first_lab/plain in containers, the 2. time"]
