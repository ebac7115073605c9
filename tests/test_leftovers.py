"""However `grade` is ended, nothing that it started outlives it: no process, no folder, no shared memory."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from labkit.reaper import PREFIX, SHARED_MEMORY, TAG

GRADE = "from labkit.cli import grade_main; grade_main()"
ARGUMENTS = ["rate-limiter", "--reference", "--services", "embedded"]
WITHIN_S = 5.0


class Grading:
    """A grading of a reference by the command, with a folder for its temporary files."""

    def __init__(self, temp: Path) -> None:
        self._temp = temp
        self._shared = set(shared_memory())
        self.process = subprocess.Popen(
            [sys.executable, "-c", GRADE, *ARGUMENTS],
            env={**os.environ, "TMPDIR": str(temp)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.run = ""

    def wait_for_run(self) -> None:
        """Until it has a folder, from which time on there is something to leave."""
        wait_until(lambda: list(self._temp.glob(f"{PREFIX}*")), within=30)
        self.run = next(self._temp.glob(f"{PREFIX}*")).name.removeprefix(PREFIX)

    def processes(self) -> list[str]:
        """What runs with its mark or in its folder."""
        return [words for process in psutil.process_iter() if self.run in (words := marks_of(process))]

    def leftovers(self) -> list[str]:
        files = [str(path) for path in self._temp.iterdir()]
        # Another grading on this machine has files there too; those of a process that is gone are nobody's.
        shared = [
            str(path)
            for path in set(shared_memory()) - self._shared
            if not psutil.pid_exists(int(path.name.rpartition("_")[2]))
        ]
        return [*self.processes(), *files, *shared]


def shared_memory() -> list[Path]:
    """What libfaketime keeps for a process, and outlives its kill."""
    return [*Path(SHARED_MEMORY).glob("faketime_shm_*"), *Path(SHARED_MEMORY).glob("sem.faketime_sem_*")]


def marks_of(process: psutil.Process) -> str:
    """Mark, folder and command line of a process, or nothing if it has ended."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        mark = process.environ().get(TAG, "")
        return " ".join([str(process.pid), mark, process.cwd(), *process.cmdline()])
    except (psutil.Error, OSError):
        return ""


def wait_until(condition: Callable[[], object], *, within: float) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def grading() -> Iterator[Grading]:
    # Directly in the folder for temporary files: the path of a Unix socket has to be short.
    temp = Path(tempfile.mkdtemp(prefix="t-")).resolve()
    grading = Grading(temp)
    try:
        grading.wait_for_run()
        yield grading
    finally:
        grading.process.kill()
        grading.process.communicate()
        shutil.rmtree(temp)


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.3, 0.7, 1.5, 3.0, 4.5])
def test_a_killed_grading_leaves_nothing(grading, after_s):
    # Up to 6 s: the waits of the contract keep a grading busy for longer on any machine.
    moment = after_s * random.uniform(1.0, 1.3)  # noqa: S311 - not for secrets
    time.sleep(moment)
    if after_s >= 3.0:
        assert len(grading.processes()) > 3

    grading.process.kill()
    killed = time.monotonic()
    grading.process.wait()
    while left := grading.leftovers():
        assert time.monotonic() - killed < WITHIN_S, f"killed after {moment:.2f} s: {left}"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.0, 1.0, 5.0])
def test_an_interrupted_grading_leaves_nothing_and_says_so(grading, after_s):
    time.sleep(after_s)

    grading.process.send_signal(signal.SIGINT)
    _, said = grading.process.communicate(timeout=20)

    assert grading.process.returncode == 3
    assert "interrupted" in said
    assert "everything that was started has been stopped" in said
    assert "Traceback" not in said
    assert grading.leftovers() == []
