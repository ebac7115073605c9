"""One grading's processes and files: whatever it starts ends with it."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any

from labkit import reaper
from labkit.errors import LabkitError

Stream = int | IO[Any] | None


class Run:
    """Starts processes and makes folders that are gone when the run is, even after `kill -9`.

    `id` is short and hexadecimal; every process of the run has it as LABKIT_RUN in its environment.
    `folder` is a temporary folder that only this user can enter. All methods may be called from
    many threads at once.
    """

    def __init__(self) -> None:
        self.id = secrets.token_hex(4)
        self._began = time.monotonic()
        temp = os.path.realpath(tempfile.gettempdir())
        self._ledger = reaper.Ledger(self.id, temp)
        self._lock = threading.RLock()
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._closed = False
        self._reaper = _start_reaper(self.id, temp)
        self.folder = Path(temp) / f"{reaper.PREFIX}{self.id}"
        self.watch_path(self.folder)
        self.folder.mkdir(mode=0o700)

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Run]:
        """A run for the length of the block."""
        run = cls()
        try:
            yield run
        finally:
            run.close()

    def clock(self) -> float:
        """Seconds since the run began; never goes back."""
        return time.monotonic() - self._began

    def spawn(
        self,
        argv: Sequence[str],
        *,
        cwd: str | Path,
        env: Mapping[str, str],
        stdout: Stream = subprocess.DEVNULL,
        stderr: Stream = subprocess.DEVNULL,
        user: int | None = None,
        quit_first: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own, with no input, as `user` (a uid) if given.

        `env` is its whole environment, to which the run's mark is added. With `quit_first` it is
        asked by SIGQUIT before it is killed at the end of the run. Raises OSError as Popen does.
        """
        with self._lock:
            self._refuse_if_closed()
            child = subprocess.Popen(
                list(argv),
                cwd=cwd,
                env={**env, reaper.TAG: self.id},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                **_identity(user),
            )
            self._children[child.pid] = child
            self._note(f"group {child.pid} {time.time():.3f} {'quit' if quit_first else 'kill'}")
        return child

    def kill_group(self, child: subprocess.Popen[bytes]) -> None:
        """Kill a child and its process group with SIGKILL; returns when the child has ended."""
        with self._lock:
            group = self._ledger.groups.get(child.pid)
        if group is not None:
            reaper.end_groups([group._replace(quit_first=False)])
        _reap(child)
        with self._lock:
            self._children.pop(child.pid, None)
            self._note(f"forget {child.pid}")

    def new_folder(self, name: str) -> Path:
        """A new folder in the run's own, called `name`, or `name-2` and so on if that is taken."""
        for attempt in count(1):
            folder = self.folder / (name if attempt == 1 else f"{name}-{attempt}")
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
        raise AssertionError("count() does not end")

    def watch_path(self, path: str | Path) -> None:
        """Have a file or folder removed at the end; call it before the thing is made.

        It must lie directly in the temporary folder or in /dev/shm and begin with `labkit-<id>`,
        or be one of the two files that libfaketime keeps in /dev/shm. Raises ValueError.
        """
        name = str(Path(path).absolute())
        if not reaper.is_removable(name, run=self.id, temp=self._ledger.temp):
            raise ValueError(f"{name} is not a run's to remove")
        with self._lock:
            self._refuse_if_closed()
            self._note(f"path {name}")

    def container_labels(self, engine: str = "") -> dict[str, str]:
        """Labels for containers, networks and volumes; from now on the reaper looks for them.

        `engine` is the address of the Docker engine, "" for the one that the environment names.
        """
        with self._lock:
            self._refuse_if_closed()
            self._note(f"containers {engine}")
        return {reaper.LABEL: self.id}

    def close(self) -> None:
        """Kill everything that carries the run's mark and remove its files; again does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._ledger.clear(sweep_for=0)
        for child in self._children.values():
            _reap(child)
        self._note("done")
        assert self._reaper.stdin is not None
        self._reaper.stdin.close()
        if not self._ledger.engines:
            _reap(self._reaper)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise RuntimeError("the run is over")

    def _note(self, record: str) -> None:
        self._ledger.note(record)
        assert self._reaper.stdin is not None
        # A reaper that somebody killed is no reason to stop: close() clears without it.
        with contextlib.suppress(BrokenPipeError):
            self._reaper.stdin.write(os.fsencode(record) + b"\0")


def _start_reaper(run: str, temp: str) -> subprocess.Popen[bytes]:
    # The mark of an outer run must not be on it: that run's sweep would end it before its work.
    env = {name: value for name, value in os.environ.items() if name != reaper.TAG}
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", reaper.__file__, run, temp, *sys.path],
        cwd="/",
        env=env,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _identity(user: int | None) -> dict[str, Any]:
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwuid(user).pw_gid, "extra_groups": []}


def _reap(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(timeout=5)
    except subprocess.TimeoutExpired:
        raise LabkitError(
            f"process {child.pid} was killed but does not end",
            remedy="it hangs in the system (a dead network disk?); end it by hand",
        ) from None
