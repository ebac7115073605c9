"""Grades cases side by side, each in a process of its own that is bounded in time."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from labkit.errors import UsageError
from labkit.execution import PlannedCheck, new_seed
from labkit.proving.cases import Case
from labkit.proving.judgement import Attempt, faults_in
from labkit.result import Result
from labkit.run import Run

PROVIDER = "embedded"
# An inconclusive grading says nothing about the grader, so it is asked again this many times.
MOST_ATTEMPTS = 5
CASE_DEADLINE_S = 300.0
CLOSING_DEADLINE_S = 10.0
LEFTOVERS_DEADLINE_S = 3.0
# In the environment of everything that a case starts, unless that wipes its environment.
MARK = "LABKIT_CASE"
_POLL_S = 0.1


class Gradings:
    """Runs gradings, `jobs` at a time; nothing of them is left when it is closed."""

    def __init__(self, run: Run, jobs: int) -> None:
        self.jobs = jobs
        self._run = run
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="case")

    @classmethod
    @contextmanager
    def open(cls, *, jobs: int) -> Iterator[Gradings]:
        with Run.open() as run:
            gradings = cls(run, jobs)
            try:
                yield gradings
            finally:
                gradings._stopping.set()
                gradings._pool.shutdown(cancel_futures=True)

    def side_by_side(
        self, grade: Callable[[Case], list[Attempt]], cases: Sequence[Case]
    ) -> Iterator[list[Attempt]]:
        """What `grade` makes of each case, in the order in which they end."""
        for future in as_completed([self._pool.submit(grade, case) for case in cases]):
            yield future.result()

    def grade(self, case: Case, checks: Sequence[PlannedCheck]) -> list[Attempt]:
        """Grade a case by these checks, and again while the outcome is in doubt; the last attempt counts."""
        attempts: list[Attempt] = []
        while len(attempts) < MOST_ATTEMPTS and not self._stopping.is_set():
            attempt = self._attempt(case, [check.id for check in checks])
            attempts.append(replace(attempt, faults=tuple(faults_in(attempt, checks))))
            if not attempts[-1].in_doubt:
                break
        return attempts

    def _attempt(self, case: Case, only: Sequence[str]) -> Attempt:
        place = self._run.new_folder(f"{case.kind}-{case.name}")
        try:
            case.make(place / "submission")
        except UsageError as error:
            return Attempt(case, None, unsound=error.message)
        mark = f"{self._run.id}/{place.name}"
        child = self._start(case, place, mark, only)
        ending = self._end(child)
        left = () if self._stopping.is_set() else _leftovers(mark)
        if ending is None:
            return Attempt(case, _result_in(place), left=left)
        lines = (place / "errors").read_text(encoding="utf-8", errors="replace").split("\n")
        said = " / ".join(line for line in lines[-4:] if line)
        return Attempt(case, None, broken=": ".join(filter(None, (ending, said))), left=left)

    def _start(self, case: Case, place: Path, mark: str, only: Sequence[str]) -> subprocess.Popen[bytes]:
        arguments = [str(case.lab.folder), str(place / "submission"), PROVIDER, str(new_seed())]
        arguments += [str(place / "result"), *only]
        with (place / "errors").open("wb") as errors:
            return self._run.spawn(
                [sys.executable, "-P", "-m", "labkit.proving.grading", *arguments],
                cwd=place,
                env={**os.environ, MARK: mark},
                stderr=errors,
            )

    def _end(self, child: subprocess.Popen[bytes]) -> str | None:
        """Wait for a grading; None if it came to a result, else how it ended instead."""
        ending = self._wait(child)
        if child.poll() is None:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(CLOSING_DEADLINE_S)
        self._run.kill_group(child)
        return ending

    def _wait(self, child: subprocess.Popen[bytes]) -> str | None:
        deadline = time.monotonic() + CASE_DEADLINE_S
        while not self._stopping.wait(_POLL_S):
            code = child.poll()
            if code is not None:
                return None if code == 0 else f"grading ended with code {code}"
            if time.monotonic() > deadline:
                return f"grading had not ended after {CASE_DEADLINE_S:g} s"
        return "given up"


def _result_in(place: Path) -> Result:
    return Result.from_json((place / "result").read_text(encoding="utf-8"))


def _leftovers(mark: str) -> tuple[str, ...]:
    """Processes of a case that outlive its grading by more than a moment, by name and pid."""
    deadline = time.monotonic() + LEFTOVERS_DEADLINE_S
    while (found := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return found


def _marked(mark: str) -> tuple[str, ...]:
    found = []
    for process in psutil.process_iter():
        # Processes of other users, and those that end just now, have no environment to show.
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                found.append(f"{process.name()} ({process.pid})")
    return tuple(found)
