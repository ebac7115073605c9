"""A host that is a process of our own: a server's program, started, stopped, frozen and killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from labkit import reaper
from labkit.errors import FaultUnavailable, ServiceDown, ServiceError
from labkit.run import Run
from labkit.services import Address

START_S = 15.0
STOP_S = 10.0
SETTLE_S = 2.0
LOG_LINES = 20


@dataclass(frozen=True)
class Program:
    """How one server is run.

    name         what messages call it: "Redis"
    folder       the run's folder for it; `data` in it holds its data, `log` what it writes
    lay_out      puts into an empty `data` what the server needs for its first start
    stop_signal  asks it to end and keep its data; None for a server that keeps nothing
    quit_first   SIGQUIT lets it tidy up before a close
    user         uid that it runs as, None for the grader's own
    """

    name: str
    argv: Sequence[str]
    folder: Path
    address: Address
    stop_signal: signal.Signals | None
    lay_out: Callable[[Path], None] | None = None
    quit_first: bool = False
    user: int | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"


class ProcessHost:
    """Runs a program; `ready` is its service's round trip, which raises ServiceDown until it is up."""

    def __init__(self, run: Run, program: Program, *, ready: Callable[[], None]) -> None:
        self._run = run
        self._program = program
        self._ready = ready
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> Address:
        return self._program.address

    @property
    def log(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            text = (self._program.folder / "log").read_text(encoding="utf-8", errors="replace")
            return text.splitlines()[-LOG_LINES:]
        return []

    @property
    def memory(self) -> int | None:
        total = 0
        for process in self._family():
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total

    def start(self, *, empty: bool = False) -> None:
        """Start it if it does not run; with `empty`, a running one is killed first."""
        if self._is_running and not empty:
            return
        self._end_family()
        if empty:
            reaper.remove(str(self._program.data))
        if not self._program.data.exists():
            self._make_data()
        self._child = self._spawn()
        self._wait_until_ready(self._child)

    def stop(self) -> None:
        self._refuse_to_lose_data("stopped")
        child = self._running_child()
        assert self._program.stop_signal is not None
        self.resume()
        child.send_signal(self._program.stop_signal)
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise self._fault(f"does not stop within {STOP_S:.0f} s") from None
        self._end_family()

    def kill(self) -> None:
        self._refuse_to_lose_data("killed")
        self._running_child()
        self._end_family()

    def pause(self) -> None:
        self._signal_family(signal.SIGSTOP)
        self._wait_for_states(stopped=True)

    def resume(self) -> None:
        self._signal_family(signal.SIGCONT)
        self._wait_for_states(stopped=False)

    def close(self) -> None:
        if self._is_running and self._program.quit_first:
            self._signal_family(signal.SIGCONT)
            child = self._running_child()
            child.send_signal(signal.SIGQUIT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(reaper.QUIT_PATIENCE_S)
        self._end_family()
        reaper.remove(str(self._program.folder))

    @property
    def _is_running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def _running_child(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            raise self._fault("is not running")
        return self._child

    def _make_data(self) -> None:
        self._program.data.mkdir(mode=0o700)
        if self._program.lay_out is not None:
            self._program.lay_out(self._program.data)

    def _spawn(self) -> subprocess.Popen[bytes]:
        with (self._program.folder / "log").open("ab") as log:
            return self._run.spawn(
                self._program.argv,
                cwd=self._program.data,
                env={"PATH": os.defpath, "LC_ALL": "C"},  # nothing that could set the server up otherwise
                stdout=log,
                stderr=subprocess.STDOUT,
                user=self._program.user,
                quit_first=self._program.quit_first,
            )

    def _wait_until_ready(self, child: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                return self._ready()
            except ServiceDown as error:
                if child.poll() is not None:
                    raise self._fault(f"ended with code {child.returncode} as it started") from error
                if time.monotonic() > deadline:
                    raise self._fault(f"was not ready within {START_S:.0f} s: {error.message}") from error
            time.sleep(0.002)

    def _refuse_to_lose_data(self, fate: str) -> None:
        if self._program.stop_signal is None:
            raise FaultUnavailable(
                f"the embedded {self._program.name} cannot be {fate}: it would come back without its data",
                remedy="grade with containers, or pause it instead",
            )

    def _family(self) -> list[psutil.Process]:
        """The server and its descendants, oldest first; Postgres' ones have groups of their own."""
        if self._child is None or self._child.returncode is not None:
            return []
        try:
            leader = psutil.Process(self._child.pid)
            return [leader, *leader.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _signal_family(self, number: signal.Signals) -> None:
        self._running_child().send_signal(number)  # the leader first: once stopped, it forks no more
        for process in self._family()[1:]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _wait_for_states(self, *, stopped: bool) -> None:
        deadline = time.monotonic() + SETTLE_S
        while not all(_is_stopped(process) in (stopped, None) for process in self._family()):
            if time.monotonic() > deadline:
                raise self._fault("could not be paused" if stopped else "could not be resumed")
            time.sleep(0.001)

    def _end_family(self) -> None:
        """Kill whatever runs; returns when all of it is gone."""
        if self._child is None:
            return
        if self._is_running:
            self._child.send_signal(signal.SIGSTOP)  # no more forks while its children are listed
        family = self._family()[1:]
        self._run.kill_group(self._child)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        deadline = time.monotonic() + SETTLE_S
        while any(_is_stopped(process) is not None for process in family):
            if time.monotonic() > deadline:
                raise self._fault("was killed but some of its processes do not end")
            time.sleep(0.001)
        self._child = None

    def _fault(self, text: str) -> ServiceError:
        lines = "".join(f"\n  {line}" for line in self.log[-5:])
        return ServiceError(f"{self._program.name} {text}{':' if lines else ''}{lines}")


def _is_stopped(process: psutil.Process) -> bool | None:
    """Whether a process is frozen; None if it has ended, be it that nobody has reaped it yet."""
    try:
        status = process.status()
    except psutil.NoSuchProcess:
        return None
    return None if status == psutil.STATUS_ZOMBIE else status == psutil.STATUS_STOPPED
