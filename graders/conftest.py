"""Runs a lab's checks under pytest: `pytest graders/rate_limiter --submission DIR`.

The verdicts are those of `grade`, and so is the exit code: 0 passed, 1 failed, 2 inconclusive, 3 a
fault of the kit. pytest's own -k, --junitxml and --collect-only work on checks as on tests.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from labkit.errors import LabkitError
from labkit.execution import new_seed, open_ground
from labkit.leaving import is_held, leave
from labkit.plugin import GraderPlugin
from labkit.result import EXIT_CODES, Verdict, overall
from labkit.services.choice import PROVIDERS
from labkit.submission import Submission, read_submission


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("labkit", "grading")
    group.addoption("--submission", metavar="DIR", help="the folder to grade")
    group.addoption("--services", choices=PROVIDERS, default="auto", help="what Redis and the like run as")
    group.addoption(
        "--isolate", action="store_true", help="run the submission in containers that reach nothing else"
    )
    group.addoption("--seed", type=int, help="repeat the grading that had this seed")


def pytest_configure(config: pytest.Config) -> None:
    folder = config.getoption("--submission")
    if folder is None:
        raise pytest.UsageError("which submission? pytest graders/LAB --submission DIR")
    try:
        grading = Grading(config, read_submission(Path(folder)))
    except LabkitError as error:
        raise pytest.UsageError(
            f"{error.message}; {error.remedy}" if error.remedy else error.message
        ) from None
    config.pluginmanager.register(grading)
    config.pluginmanager.register(grading.grader)
    config.add_cleanup(grading.leave_if_held)  # the last of these comes first
    config.add_cleanup(grading.close)


class Grading:
    """One session: opens what a grading stands on, and says at the end what pytest cannot."""

    def __init__(self, config: pytest.Config, submission: Submission) -> None:
        self._stack = ExitStack()
        self.close = self._stack.close
        seed = config.getoption("--seed")
        self.seed = new_seed() if seed is None else seed
        self.lab = submission.lab
        ground = None
        self.notes: tuple[str, ...] = ("nothing is graded",)
        if not config.option.collectonly:
            services, isolate = config.getoption("--services"), config.getoption("--isolate")
            opening = open_ground(submission, provider=services, isolate=isolate, tell=_say)
            ground = self._stack.enter_context(opening)
            self.notes = ground.notes
        self.grader = GraderPlugin(self.lab, ground=ground, seed=self.seed, collect_only=ground is None)

    def pytest_report_header(self) -> list[str]:
        return [f"labkit: {self.lab.slug}, seed {self.seed}", *self.notes]

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Other labs' checks judge other submissions."""
        graders = self.lab.grader.parent
        if collection_path.parent == graders and collection_path.is_dir():
            return collection_path != self.lab.grader or None
        return None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        # What -k and the like have left over.
        self.grader.items = list(session.items)  # type: ignore[arg-type]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.grader.fault or self.grader.own_faults:
            session.exitstatus = EXIT_CODES[Verdict.ERROR]
        elif self.grader.results:
            session.exitstatus = EXIT_CODES[overall(tuple(self.grader.results))]

    def leave_if_held(self) -> None:
        """Where a check is stuck, in which case nothing else would end this process."""
        if is_held():
            leave(EXIT_CODES[Verdict.ERROR])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        faults = [self.grader.fault.message] if self.grader.fault else []
        for fault in (*faults, *self.grader.own_faults):
            terminalreporter.write_line(f"labkit itself failed, the submission is not to blame: {fault}")


def _say(text: str) -> None:
    """What takes long before the first check: pytest's own report has not begun yet."""
    print(text, file=sys.stderr)
