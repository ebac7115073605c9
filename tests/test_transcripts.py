"""What `grade` and `lab` print in the main situations, word for word.

`pytest tests/test_transcripts.py --record` writes the transcripts anew; the diff is then for review.
"""

import io
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from labkit import execution
from labkit.cli.ending import exit_code
from labkit.cli.grade import grade
from labkit.cli.lab import lab
from labkit.errors import ServiceError
from labkit.execution import Order, PlannedCheck, Watcher
from labkit.result import Result

TRANSCRIPTS = Path(__file__).parent / "transcripts"
RESULTS = TRANSCRIPTS / "results"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
MANIFEST = """
lab = "rate-limiter"

[processes]
web = "python -m app"

[options]
algorithm = "token-bucket"
on_redis_outage = "open"
"""

# name -> command, and the result that grading comes to
SITUATIONS: dict[str, tuple[str, str | None]] = {
    "passed": ("grade", "passed"),
    "passed-reference": ("grade rate-limiter --reference sliding_log", "passed"),
    "passed-one-check": ("grade --only two-round-trips-at-most", "passed"),
    "passed-verbose": ("grade -v", "passed"),
    "failed": ("grade rate-limiter --services embedded", "failed"),
    "failed-verbose": ("grade -v", "failed"),
    "inconclusive": ("grade", "inconclusive"),
    "not-started": ("grade", "not-started"),
    "hostile-output": ("grade", "hostile"),
    "own-fault": ("grade", "own-fault"),
    "service-fault": ("grade", None),
    "list-of-checks": ("grade rate-limiter --list", None),
    "unknown-lab": ("grade rate-limter", None),
    "unknown-stage": ("grade --stage outrage --list", None),
    "unknown-reference": ("grade rate-limiter --reference sliding-logs", None),
    "unknown-option": ("grade --keep-on", None),
    "unknown-command": ("lab lst", None),
    "missing-folder": ("grade nowhere/at-all", None),
    "reference-of-what": ("grade --reference", None),
    "labs": ("lab list", None),
}
# situations that are also shown as on a terminal so many columns wide
WIDTHS = {"failed": (80, 120), "not-started": (80,), "passed": (80,), "passed-verbose": (60,)}


@pytest.mark.parametrize("name", SITUATIONS)
def test_prints_in_a_log(name, play, expect_transcript):
    expect_transcript(name, play(name))


@pytest.mark.parametrize(("name", "width"), [(name, width) for name in WIDTHS for width in WIDTHS[name]])
def test_prints_on_a_terminal(name, width, play, expect_transcript, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))

    transcript = play(name)

    # commands are not broken: they are there to be copied
    assert all(len(line) <= width for line in transcript.splitlines() if "grade " not in line)
    expect_transcript(f"{name}-{width}", transcript)


@pytest.mark.parametrize("name", ["failed", "passed", "not-started"])
def test_prints_nothing_but_ascii_where_there_is_nothing_else(name, play, monkeypatch):
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True))

    play(name, streams=False)

    printed = sys.stdout.buffer.getvalue() + sys.stderr.buffer.getvalue()
    assert printed.isascii()
    assert b"\nnext " in printed
    assert b"?" not in printed.replace(b"? clocks", b"").replace(b"? inconclusive", b"")


def test_every_transcript_belongs_to_a_situation():
    expected = {*SITUATIONS, *(f"{name}-{width}" for name in WIDTHS for width in WIDTHS[name])}

    assert {path.stem for path in TRANSCRIPTS.glob("*.txt")} == expected


@pytest.fixture
def play(tmp_path, monkeypatch, capsys):
    """Run a situation's command in a folder with a submission; its transcript."""
    (tmp_path / "lab.toml").write_text(MANIFEST)
    monkeypatch.chdir(tmp_path)
    for variable in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "GITHUB_ACTIONS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(execution, "new_seed", lambda: 7)
    monkeypatch.setattr(execution, "planned_checks", made_up_checks)

    def play(name: str, *, streams: bool = True) -> str:
        line, result = SITUATIONS[name]
        monkeypatch.setattr(execution, "grade", Grading(result))
        program, *arguments = line.split()
        code = exit_code({"grade": grade, "lab": lab}[program], arguments)
        if not streams:
            return ""
        printed = capsys.readouterr()
        text = f"$ {line}\n--- stderr\n{printed.err}--- stdout\n{printed.out}--- exit code {code}\n"
        return normalised(text, tmp_path)

    return play


@pytest.fixture
def expect_transcript(request):
    def expect_transcript(name: str, transcript: str) -> None:
        path = TRANSCRIPTS / f"{name}.txt"
        if request.config.getoption("record"):
            path.write_text(transcript, encoding="utf-8")
        assert transcript == path.read_text(encoding="utf-8")

    return expect_transcript


class Grading:
    """In the place of `execution.grade`: tells the watcher of a recorded result and returns it."""

    def __init__(self, result: str | None) -> None:
        self.result = read_result(result) if result else None

    def __call__(self, order: Order, watcher: Watcher) -> Result:
        if self.result is None:
            raise ServiceError("Redis did not start within 10 s", remedy="`lab doctor` says what works here")
        checks = tuple(check for check in self.result.checks if not order.only or check.id in order.only)
        watcher.planned(made_up_checks(order.lab, only=order.only))
        for note in self.result.notes:
            watcher.note(note)
        for check in checks:
            watcher.started(check.id)
            watcher.finished(check)
        points = sum(check.points for check in checks)
        return replace(self.result, checks=checks, score=points, max_score=sum(c.max_points for c in checks))


def read_result(name: str) -> Result:
    return Result.from_json((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def made_up_checks(lab, *, only=(), stage=None) -> Sequence[PlannedCheck]:
    stages = {lab.stage(stage).name} if stage else {stage.name for stage in lab.stages}
    return tuple(
        PlannedCheck(check.id, check.stage, check.title, check.max_points, (), "shared")
        for check in read_result("passed").checks
        if check.stage in stages and (not only or check.id in only)
    )


def normalised(text: str, folder: Path) -> str:
    plain = ESCAPES.sub("", text).replace(str(folder), "FOLDER")
    return "".join(f"{line.rstrip()}\n" for line in plain.splitlines())
