"""Runs processes of a submission as process groups of this machine, with the user's own rights."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import psutil

from labkit import clocks
from labkit.errors import SubmissionError
from labkit.ports import own_socket
from labkit.processes import run_to_end
from labkit.run import Run
from labkit.runtime import Command
from labkit.submission import Submission

SETUP_DEADLINE_S = 600.0
_CHUNK = 1 << 16


class Unconfined:
    """The runtime of one's own submissions.

    With `kit_python` processes find the kit's own interpreter first: the references' packages are its.
    """

    note: str | None = None

    def __init__(self, run: Run, *, kit_python: bool = False) -> None:
        self._run = run
        self._kit_python = kit_python

    @property
    def environment(self) -> dict[str, str]:
        """All that the kit itself was called with."""
        env = dict(os.environ)
        if self._kit_python:
            env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', '')}"
        return env

    def skewed(self, seconds: float) -> dict[str, str]:
        return clocks.skewed(seconds)

    def set_up(self, submission: Submission) -> None:
        """Run the submission's setup command, if it has one."""
        if submission.setup:
            command = Command("setup", submission.setup, submission.folder, dict(os.environ))
            run_to_end(self.open("setup"), command, deadline_s=SETUP_DEADLINE_S)

    def open(self, name: str) -> OwnMachine:  # noqa: ARG002 - all processes live in the same place
        return OwnMachine(self._run)


class OwnMachine:
    """The place of a process that has the whole machine."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def new_socket(self) -> socket.socket:
        return own_socket()

    def start(self, command: Command, env: Mapping[str, str]) -> ProcessGroup:
        child = _spawn(self._run, command, env)
        for path in clocks.left_in_memory(child.pid, env):
            self._run.watch_path(path)
        return ProcessGroup(self._run, child)

    def spelled(self, argv: Sequence[str]) -> str:
        return f"run its command in the folder: {' '.join(argv)}"

    def close(self) -> None:
        pass


class ProcessGroup:
    """A child and its process group."""

    def __init__(self, run: Run, child: subprocess.Popen[bytes]) -> None:
        self._run = run
        self._child = child

    @property
    def code(self) -> int | None:
        return self._child.poll()

    @property
    def ending(self) -> str:
        code = self._child.returncode
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}"

    def output(self) -> Generator[bytes]:
        assert self._child.stdout is not None
        with self._child.stdout as stream:
            while data := os.read(stream.fileno(), _CHUNK):
                yield data

    def wait(self, timeout_s: float) -> int | None:
        try:
            return self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._run.kill_group(self._child)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    @property
    def frozen(self) -> bool:
        try:
            return all(process.status() == psutil.STATUS_STOPPED for process in self._family())
        except psutil.Error:
            return False

    def listening(self) -> list[int]:
        try:
            found = {
                connection.laddr.port
                for process in self._family()
                for connection in process.net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN
            }
        except psutil.Error:
            return []
        return sorted(found)

    def _family(self) -> list[psutil.Process]:
        root = psutil.Process(self._child.pid)
        return [root, *root.children(recursive=True)]

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, number)


def _spawn(run: Run, command: Command, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    program = command.argv[0]
    # Looked up on the PATH that the process itself gets, from the folder in which it starts.
    found = shutil.which(program, path=env.get("PATH")) if os.sep not in program else program
    try:
        if found is None:
            raise FileNotFoundError
        return run.spawn(
            [found, *command.argv[1:]],
            cwd=command.folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except (FileNotFoundError, NotADirectoryError):
        reason = "command not found"
    except PermissionError:
        reason = "not executable"
    except OSError as error:
        reason = str(error)
    raise SubmissionError(
        f"{command.name} cannot be started: {program}: {reason}",
        remedy=f"check the command in lab.toml: {' '.join(command.argv)}",
    )
