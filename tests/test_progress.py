"""Progress: a list that is drawn again and again on a terminal, plain lines elsewhere."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console as RichConsole

from labkit.execution import PlannedCheck
from labkit.progress import LiveProgress, PlainProgress, watching
from labkit.report import open_console
from labkit.report.console import Console
from labkit.result import Result, Verdict

RESULT = Result.from_json(
    (Path(__file__).parent / "transcripts" / "results" / "failed.json").read_text(encoding="utf-8")
)
PLANNED = tuple(
    PlannedCheck(check.id, check.stage, check.title, check.max_points, (), "shared")
    for check in RESULT.checks
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(progress: LiveProgress) -> list[str]:
    file = io.StringIO()
    RichConsole(file=file, width=80).print(progress.draw())
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.fixture
def progress(request):
    """Live progress on a terminal of 80 columns and so many lines."""
    height = getattr(request, "param", 40)
    console = Console(file=Terminal(), width=80, height=height, force_terminal=True)
    return LiveProgress(console, seed=7)


@pytest.mark.parametrize(
    ("file", "environment", "live"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
        (io.StringIO(), {"TERM": "xterm", "FORCE_COLOR": "1"}, False),
    ],
)
def test_only_a_real_terminal_is_drawn_on_again(file, environment, live, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with watching(open_console(file), seed=7) as watcher:
        assert isinstance(watcher, LiveProgress if live else PlainProgress)


def test_before_the_checks_are_known_it_says_that_it_gets_ready(progress):
    progress.note("setup: uv sync")

    first, last = drawn(progress)

    assert first == "setup: uv sync"
    assert last.split(" ", 1)[1] == "getting ready · 0 s · seed 7"


def test_each_check_has_a_line_below_its_stage(progress):
    progress.planned(PLANNED)
    progress.started("answers-a-ping")
    progress.finished(RESULT.checks[0])
    progress.started("replicas-share-one-budget")

    lines = drawn(progress)

    assert lines[:4] == [
        "contract",
        "  ✓ answers-a-ping  0.1 s",
        "  · healthz-is-never-limited",
        "  · a-missing-key-consumes-nothing",
    ]
    running = lines[lines.index("replicas") + 1]
    assert running.endswith(" replicas-share-one-budget  0 s")
    assert running[2] in progress._console.symbols.running
    assert lines[-1] == "1 of 11 checks done · 0 s · seed 7"


@pytest.mark.parametrize("progress", [14], indirect=True)
def test_a_low_terminal_gets_a_line_for_each_stage_and_what_needs_a_look(progress):
    progress.planned(PLANNED)
    for check in RESULT.checks[:6]:
        progress.started(check.id)
        progress.finished(check)
    progress.started("clocks-may-differ")

    lines = drawn(progress)

    assert len(lines) < 14
    assert lines[0] == "contract    ✓✓✗"
    assert "  ✗ a-missing-key-consumes-nothing  0.4 s" in lines
    assert any(line.endswith(" clocks-may-differ  0 s") for line in lines)
    assert lines[-1] == "6 of 11 checks done · 0 s · seed 7 · 1 failed"


def test_when_all_checks_are_done_it_says_what_it_still_does(progress):
    progress.planned(PLANNED)
    for check in RESULT.checks:
        progress.finished(check)

    lines = drawn(progress)

    assert lines[-2].endswith(" two-round-trips-at-most")
    assert lines[-1] == "11 of 11 checks done, closing everything · 0 s · seed 7 · 2 failed"


@pytest.mark.parametrize("progress", [4, 1], indirect=True)
def test_it_never_grows_beyond_the_terminal(progress):
    progress.planned(PLANNED)
    progress.note("services: embedded")

    assert len(drawn(progress)) <= 4


def test_plain_lines_say_what_ended_and_how():
    file = io.StringIO()
    progress = PlainProgress(open_console(file), seed=7)

    progress.planned(PLANNED)
    progress.note("services: \x1b[31membedded")
    progress.finished(RESULT.checks[0])
    progress.finished(replace(RESULT.checks[0], verdict=Verdict.SKIPPED))

    assert file.getvalue().splitlines() == [
        "11 checks, seed 7",
        "services: embedded",
        "✓ passed  contract/answers-a-ping  0.1 s",
    ]


def test_colours_are_left_out_where_the_user_wants_none(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    file = io.StringIO()

    PlainProgress(open_console(file), seed=7).finished(RESULT.checks[0])

    assert "\x1b[3" not in file.getvalue()
