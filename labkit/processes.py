"""Starts, watches, signals and stops the processes of a submission, and keeps their last lines."""

from __future__ import annotations

import collections
import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from labkit import clocks
from labkit.client import REFUSED, Client, Request
from labkit.errors import SubmissionError
from labkit.ports import PortLease, free_port
from labkit.pulse import Pulse
from labkit.run import Run

HEALTH_DEADLINE_S = 15.0
STOP_DEADLINE_S = 8.0
SETUP_DEADLINE_S = 600.0
LONGEST_OUTPUT = 64 << 20
_KEPT_LINES = 200
_LONGEST_LINE = 400
_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Command:
    """How a process is started.

    name    unique: "web-1", "setup"
    argv    program and arguments, run without a shell
    folder  working directory
    env     the whole environment, without HOST and PORT
    """

    name: str
    argv: Sequence[str]
    folder: Path
    env: Mapping[str, str]


class Output:
    """The last lines of what a process wrote; ends the process if that grows beyond all measure."""

    def __init__(self, stream: IO[bytes], flooded: Callable[[], None]) -> None:
        self._lines: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self._partial = b""
        self._size = 0
        self._flooded = flooded
        self._thread = threading.Thread(target=self._pump, args=(stream,), daemon=True)
        self._thread.start()

    @property
    def too_long(self) -> bool:
        return self._size > LONGEST_OUTPUT

    def lines(self, most: int = 12) -> list[str]:
        """The last complete lines, and the last incomplete one."""
        lines = [*self._lines, _text(self._partial)] if self._partial else list(self._lines)
        return lines[-most:]

    def settle(self) -> None:
        """Wait until all that an ended process wrote has been read."""
        self._thread.join(timeout=1)

    def _pump(self, stream: IO[bytes]) -> None:
        with stream:
            while data := os.read(stream.fileno(), 1 << 16):
                self._size += len(data)
                if self.too_long:
                    self._flooded()
                    return
                *lines, rest = (self._partial + data).split(b"\n")
                self._lines.extend(_text(line) for line in lines[-_KEPT_LINES:])
                self._partial = rest[-_LONGEST_LINE:]


def _text(line: bytes) -> str:
    return line[:_LONGEST_LINE].decode("utf-8", "replace").rstrip("\r")


class Process:
    """One process of a submission. `start` may be called again after it has ended."""

    def __init__(self, run: Run, pulse: Pulse, command: Command) -> None:
        self.name = command.name
        self._run = run
        self._pulse = pulse
        self._command = command
        self._child: subprocess.Popen[bytes] | None = None
        self._output: Output | None = None
        self._lease: PortLease | None = None

    @property
    def address(self) -> str:
        """host:port that it was told to listen on; another one after each start."""
        assert self._lease is not None, "not started"
        return f"{_HOST}:{self._lease.port}"

    @property
    def pid(self) -> int:
        assert self._child is not None, "not started"
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def tail(self, most: int = 12) -> list[str]:
        """The last lines that it wrote to stdout and stderr."""
        return self._output.lines(most) if self._output else []

    def start(self) -> None:
        """Start it on a fresh port. Raises SubmissionError if the command cannot be run."""
        if self._lease is not None:
            self._lease.release()
        self._lease = free_port()
        env = {**self._command.env, "HOST": _HOST, "PORT": str(self._lease.port)}
        self._child = _spawn(self._run, self._command, env)
        for path in clocks.left_in_memory(self._child.pid, env):
            self._run.watch_path(path)
        assert self._child.stdout is not None
        self._output = Output(self._child.stdout, self.kill)

    def wait_healthy(self, client: Client, stopped: Callable[[], bool] = lambda: False) -> None:
        """Wait for a 200 to GET /healthz. Raises SubmissionError with what happened instead."""
        request = Request(process=self.name, path="/healthz")
        begin = self._run.clock()
        seen = "it was given no time"
        while (left := self._time_left(begin)) > 0 and not stopped():
            self._raise_if_ended()
            answer = client.send(request, deadline_s=left)
            if answer.status == 200:
                return
            seen = answer.failure or f"its status was {answer.status}"
            time.sleep(0.02)
        if not stopped():
            self._raise_if_ended()
            raise self._unhealthy(seen)

    def wait(self, deadline_s: float) -> int | None:
        """Its exit code, or None if it still runs after `deadline_s` and the machine's own delay."""
        assert self._child is not None
        begin = self._run.clock()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._child.wait(deadline_s)
        late = self._pulse.late_between(begin, self._run.clock())
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._child.wait(late)
        return None

    def terminate(self) -> int | None:
        """Ask it to stop by SIGTERM; its exit code, or None if it had to be killed after 8 s."""
        self._signal(signal.SIGTERM)
        code = self.wait(STOP_DEADLINE_S)
        self.kill()
        return code

    def kill(self) -> None:
        """Kill it and all of its group."""
        if self._child is not None:
            self._run.kill_group(self._child)

    def pause(self) -> None:
        """Freeze its group."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._child is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, number)

    def _time_left(self, begin: float) -> float:
        now = self._run.clock()
        return begin + HEALTH_DEADLINE_S + self._pulse.late_between(begin, now) - now

    def _raise_if_ended(self) -> None:
        assert self._child is not None
        code = self._child.poll()
        if code is None or self._output is None:
            return
        self._output.settle()
        if self._output.too_long:
            raise SubmissionError(
                f"{self.name} was ended: it wrote more than {LONGEST_OUTPUT >> 20} MiB of output",
                remedy="log a line a request at the most",
                output=self.tail(),
            )
        raise SubmissionError(
            f"{self.name} ended by itself before it answered /healthz: {_ending(code)}",
            remedy=f"run its command in the folder: {self._spelled()}",
            output=self.tail(),
        )

    def _unhealthy(self, seen: str) -> SubmissionError:
        message = f"{self.name} did not answer GET /healthz with 200 within {HEALTH_DEADLINE_S:g} s: {seen}"
        elsewhere = [port for port in self._listening() if f"{_HOST}:{port}" != self.address]
        remedy = "GET /healthz has to work without any service and without a key"
        if seen == REFUSED:
            remedy = f"it has to listen on HOST:PORT of its environment, here {self.address}"
        if seen == REFUSED and elsewhere:
            remedy += f"; it listens on port {', '.join(map(str, elsewhere))} instead"
        return SubmissionError(message, remedy=remedy, output=self.tail())

    def _listening(self) -> list[int]:
        """Ports on which the process or its children listen."""
        try:
            root = psutil.Process(self.pid)
            family = [root, *root.children(recursive=True)]
            found = {
                connection.laddr.port
                for process in family
                for connection in process.net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN
            }
        except psutil.Error:
            return []
        return sorted(found)

    def _spelled(self) -> str:
        return " ".join(self._command.argv)


def run_to_end(run: Run, command: Command, *, deadline_s: float = SETUP_DEADLINE_S) -> None:
    """Run a set-up or migration to its end. Raises SubmissionError unless it ends with code 0."""
    child = _spawn(run, command, dict(command.env))
    assert child.stdout is not None
    output = Output(child.stdout, lambda: run.kill_group(child))
    try:
        code: int | None = child.wait(deadline_s)
    except subprocess.TimeoutExpired:
        code = None
    run.kill_group(child)
    output.settle()
    if code != 0:
        ending = _ending(code) if code is not None else f"still running after {deadline_s:g} s"
        raise SubmissionError(
            f"{command.name} failed: {ending}",
            remedy=f"run it in the folder: {' '.join(command.argv)}",
            output=output.lines(),
        )


def _spawn(run: Run, command: Command, env: dict[str, str]) -> subprocess.Popen[bytes]:
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


def _ending(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
