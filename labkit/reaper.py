"""Ends what a run started, also when the grader itself was killed with -9.

`python reaper.py RUN TEMP SYS_PATH` runs beside the grader, in a session of its own, and reads what
the run starts from a pipe, one record a time, each ended by NUL:

    group PID SINCE quit|kill   a process group; `quit` ones get SIGQUIT and a moment first
    forget PID                  that group has ended
    path PATH                   a folder or file to remove, named before it is made
    containers ENGINE           containers may carry the run's label (ENGINE "" means the default one)
    done                        the grader has cleared processes and files itself

The pipe ends when the grader does, however it ends. Then everything is cleared. The script must
start in a few milliseconds: nothing but the cheapest of the standard library is imported on top.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import psutil

TAG = "LABKIT_RUN"
LABEL = "labkit.run"
PREFIX = "labkit-"
SHARED_MEMORY = "/dev/shm"  # noqa: S108  # where Linux keeps POSIX shared memory, not a name we make up
FAKETIME = ("faketime_shm_", "sem.faketime_sem_")
QUIT_PATIENCE_S = 0.3
CONTAINER_PATIENCE_S = 2.0
ENGINE_PATIENCE_S = 60.0


class Group(NamedTuple):
    """A process group by its leader; `since` is when it was told, in seconds of `time.time()`."""

    leader: int
    since: float
    quit_first: bool


class Ledger:
    """Everything that one run has started and not yet ended."""

    def __init__(self, run: str, temp: str) -> None:
        self.run = run
        self.temp = temp
        self.groups: dict[int, Group] = {}
        self.paths: list[str] = []
        self.engines: set[str] = set()
        self.done = False

    def note(self, record: str) -> None:
        verb, _, rest = record.partition(" ")
        if verb == "group":
            leader, since, way = rest.split()
            self.groups[int(leader)] = Group(int(leader), float(since), way == "quit")
        elif verb == "forget":
            self.groups.pop(int(rest), None)
        elif verb == "path":
            self.paths.append(rest)
        elif verb == "containers":
            self.engines.add(rest)
        elif verb == "done":
            self.done = True

    def clear(self, *, sweep_for: float) -> None:
        """End all processes and remove all files; look for hidden ones for `sweep_for` seconds."""
        end_groups(self.groups.values())
        sweep(self.run, self.paths, at_least=sweep_for)
        # A process may have been started whose files nobody has had the time to name.
        unnamed = [path for leader in self.groups for path in faketime_files(leader)]
        for path in [*self.paths, *unnamed]:
            if is_removable(path, run=self.run, temp=self.temp):
                remove(path)


def faketime_files(pid: int) -> list[str]:
    """What libfaketime leaves in memory of a process that was killed."""
    return [f"/dev/shm/faketime_shm_{pid}", f"/dev/shm/sem.faketime_sem_{pid}"]  # noqa: S108


def end_groups(groups: Iterable[Group]) -> None:
    """Kill the groups; those that like it better are asked with SIGQUIT first, all at once."""
    ours = [group for group in groups if not _is_foreign(group)]
    asked = [group.leader for group in ours if group.quit_first]
    for leader in asked:
        _signal(leader, signal.SIGQUIT)
        _signal(leader, signal.SIGCONT)  # a paused process hears nothing
    deadline = time.monotonic() + QUIT_PATIENCE_S
    while any(_is_alive(leader) for leader in asked) and time.monotonic() < deadline:
        time.sleep(0.002)
    for group in ours:
        _signal(group.leader, signal.SIGKILL)


def _is_foreign(group: Group) -> bool:
    """Whether the leader ended and its number now belongs to somebody else.

    A number is not given out again while its group has a member, so a leader that is younger
    than our note of it proves that nothing of ours is left. Two seconds are psutil's error.
    """
    import psutil

    try:
        return psutil.Process(group.leader).create_time() > group.since + 2.0
    except psutil.Error:
        return False


def _is_alive(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signal(group: int, number: signal.Signals) -> None:
    # PermissionError is macOS' answer for a group of which only zombies are left
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def sweep(run: str, folders: Iterable[str], *, at_least: float) -> None:
    """Kill what belongs to the run by its mark, until nothing is found and `at_least` seconds are over.

    The time covers a process that is between fork and exec: it still has its parent's environment.
    """
    import psutil

    rooms = tuple(folders)
    deadline = time.monotonic() + at_least
    while True:
        found = list(_marked(run, rooms))
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if not found and time.monotonic() >= deadline:
            return
        time.sleep(0.001 if found else 0.1)


def _marked(run: str, folders: tuple[str, ...]) -> Iterator[psutil.Process]:
    import psutil

    for pid in psutil.pids():
        if pid in (0, os.getpid()):
            continue
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            ours = process.environ().get(TAG) == run or _dwells_in(process, folders)
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def _dwells_in(process: psutil.Process, folders: tuple[str, ...]) -> bool:
    """Servers that write their title over their environment are known by where they work.

    Only without a terminal: somebody may have gone to look at the folder with a shell.
    """
    cwd = process.cwd()
    inside = any(cwd == folder or cwd.startswith(folder + os.sep) for folder in folders)
    return inside and process.terminal() is None


def is_removable(path: str, *, run: str, temp: str) -> bool:
    """Whether a path is one that a run makes: its own name, directly in a place for temporary files."""
    parent, name = os.path.split(path)
    if parent not in (temp, SHARED_MEMORY):
        return False
    return name.startswith(PREFIX + run) or (parent == SHARED_MEMORY and name.startswith(FAKETIME))


def remove(path: str) -> None:
    """Remove a file or a folder; one that a dying process still writes into is tried again."""
    import shutil
    from pathlib import Path

    _free_shared_memory(path)
    for _ in range(5):
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):
            Path(path).unlink()
        if not os.path.lexists(path):
            return
        time.sleep(0.02)


def _free_shared_memory(path: str) -> None:
    """Free the System V segment of a Postgres that was killed, by the number it left in its data."""
    import ctypes
    from pathlib import Path

    remove_segment = 0  # IPC_RMID
    for file in (Path(path, "postmaster.pid"), Path(path, "data", "postmaster.pid")):
        with contextlib.suppress(OSError, IndexError, ValueError):
            segment = int(file.read_text(encoding="ascii").splitlines()[6].split()[1])
            ctypes.CDLL(None).shmctl(segment, remove_segment, None)


def remove_containers(run: str, engine: str) -> None:
    """Remove the run's containers, networks and volumes; look again for those still being made.

    An engine that is too busy to answer in time is asked again.
    """
    import docker
    import requests

    began = time.monotonic()
    while True:
        clean = False
        with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
            # made anew each time: a client asks the engine for its version as soon as it is made
            client = docker.DockerClient(base_url=engine, timeout=5) if engine else docker.from_env(timeout=5)
            clean = not _remove_labelled(client, {"label": f"{LABEL}={run}"})
        waited = time.monotonic() - began
        if (clean and waited >= CONTAINER_PATIENCE_S) or waited >= ENGINE_PATIENCE_S:
            return
        time.sleep(0.25)


def _remove_labelled(client: Any, filters: dict[str, str]) -> bool:
    """Remove what carries the label; whether there was any."""
    import docker

    containers = client.containers.list(all=True, filters=filters, ignore_removed=True)
    for container in containers:
        with contextlib.suppress(docker.errors.APIError):
            container.remove(force=True, v=True)
    things = (*client.networks.list(filters=filters), *client.volumes.list(filters=filters))
    for thing in things:
        with contextlib.suppress(docker.errors.APIError):
            thing.remove()
    return bool(containers or things)


def _records(pipe: int) -> Iterator[str]:
    rest = b""
    while chunk := os.read(pipe, 65536):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from (os.fsdecode(record) for record in whole)


def main() -> None:
    run, temp, *path = sys.argv[1:]
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    ledger = Ledger(run, temp)
    for record in _records(0):
        ledger.note(record)
    sys.path[:] = path
    if not ledger.done:
        ledger.clear(sweep_for=1.0)
    for engine in ledger.engines:
        remove_containers(run, engine)


if __name__ == "__main__":
    main()
