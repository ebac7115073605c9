"""Nothing that a run starts outlives it, whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from labkit import reaper
from labkit.ports import GUARD_OFFSET, HIGHEST, LOOPBACK, LOWEST, free_port
from labkit.run import Run

ENV = dict(os.environ)
# Leaves its session and its parent, ignores SIGTERM, and says so before its parent may end.
ESCAPED = """
import os, signal, sys, time
from pathlib import Path
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Path(sys.argv[1]).write_text(str(os.getpid()))
        time.sleep(1000)
    os._exit(0)
"""
# A grader with everything that one can hold, killed at once or as it works.
GRADER = """
import os, subprocess, sys, threading, time
from contextlib import ExitStack
from labkit.run import Run
from labkit.services.embedded import Embedded

run = Run()
print(run.id, flush=True)
provider, stack = Embedded(run), ExitStack()
run.spawn([sys.executable, "-c", sys.argv[1], str(run.folder / "escaped")], cwd="/", env=dict(os.environ))
openers = [threading.Thread(target=lambda kind=kind: stack.enter_context(provider.open(kind)))
           for kind in ("redis", "postgres", "kafka")]
[opener.start() for opener in openers]
if sys.argv[2] == "ready":
    [opener.join() for opener in openers]
    while not (run.folder / "escaped").exists():
        time.sleep(0.001)
    print(sorted(os.listdir(run.folder)), flush=True)
time.sleep(1000)
"""


def traces(run_id: str) -> list[str]:
    """What is left of a run: processes by mark, folder or command line, and files."""
    found = [
        str(path)
        for place in {tempfile.gettempdir(), reaper.SHARED_MEMORY}
        for path in Path(place).glob(f"labkit-{run_id}*")
    ]
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            words = [process.cwd(), process.environ().get(reaper.TAG, ""), *process.cmdline()]
        except (psutil.Error, OSError):
            continue
        if any(run_id in word for word in words):
            found.append(f"{process.pid} {words}")
    return found


def wait_until(condition: Callable[[], bool], within: float = 5.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def run() -> Iterator[Run]:
    with Run.open() as opened:
        yield opened


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def escape(run: Run) -> int:
    """Have a process of the run leave its group; its pid."""
    note = run.new_folder("escape") / "pid"
    run.spawn([sys.executable, "-c", ESCAPED, str(note)], cwd="/", env=ENV)
    wait_until(lambda: note.exists() and note.read_text() != "")
    return int(note.read_text())


def test_close_ends_groups_and_escaped_children_and_removes_files() -> None:
    with Run.open() as run:
        extra = run.folder.with_name(f"{run.folder.name}-extra")
        run.watch_path(extra)
        extra.write_text("x")
        child = run.spawn(["sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000"], cwd="/", env=ENV)
        pid = escape(run)

    assert child.returncode == -signal.SIGKILL
    assert is_gone(pid)
    assert traces(run.id) == []


def test_close_twice_and_a_late_spawn() -> None:
    with Run.open() as run:
        pass
    run.close()

    with pytest.raises(RuntimeError, match="over"):
        run.spawn(["true"], cwd="/", env=ENV)


@pytest.mark.parametrize("moment", ["ready", "0.1", "0.4", "0.7"])
def test_a_killed_grader_leaves_nothing(moment: str, tmp_path: Path) -> None:
    """kill -9 with Redis, Postgres, Kafka and an escaped child running, or while they are starting."""
    cache = {} if moment == "ready" else {"XDG_CACHE_HOME": str(tmp_path)}  # initdb is at work as well then
    grader = subprocess.Popen(
        [sys.executable, "-c", GRADER, ESCAPED, moment],
        env={**ENV, **cache},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert grader.stdout is not None
    run_id = grader.stdout.readline().strip()
    if moment == "ready":
        assert "escaped" in grader.stdout.readline()
        assert len(traces(run_id)) > 8
    else:
        time.sleep(float(moment))

    grader.kill()
    grader.communicate()

    assert len(run_id) == 8
    wait_until(lambda: traces(run_id) == [], within=5.0)


def test_a_terminal_signal_to_the_reaper_is_ignored(run: Run) -> None:
    watcher = run._reaper
    wait_until(lambda: not signals_deadly(watcher.pid))

    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        watcher.send_signal(number)
    time.sleep(0.05)

    assert watcher.poll() is None


def signals_deadly(pid: int) -> bool:
    """Whether SIGINT, SIGHUP or SIGTERM would end a process; known on Linux, elsewhere after a while."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        time.sleep(0.3)
        return False
    line = next(line for line in status.read_text().splitlines() if line.startswith("SigIgn"))
    ignored = int(line.split()[1], 16)
    return any(not ignored >> (number - 1) & 1 for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM))


def test_a_run_survives_the_loss_of_its_reaper() -> None:
    with Run.open() as run:
        run._reaper.kill()
        run._reaper.wait()
        child = run.spawn(["sleep", "1000"], cwd="/", env=ENV)

    assert child.returncode == -signal.SIGKILL
    assert not run.folder.exists()


def test_a_nested_run_is_cleared_though_the_outer_one_kills_its_grader() -> None:
    code = (
        "from labkit.run import Run; import os, time; run = Run(); print(run.id, flush=True);"
        "run.spawn(['sleep', '1000'], cwd='/', env=dict(os.environ)); time.sleep(1000)"
    )
    with Run.open() as outer:
        inner = outer.spawn([sys.executable, "-c", code], cwd="/", env=ENV, stdout=subprocess.PIPE)
        assert inner.stdout is not None
        inner_id = inner.stdout.readline().decode().strip()

    inner.stdout.close()
    wait_until(lambda: traces(inner_id) == [])


def test_kill_group_ends_the_whole_group_at_once(run: Run) -> None:
    child = run.spawn(["sh", "-c", "sleep 1000 & echo $!; wait"], cwd="/", env=ENV, stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout:
        grandchild = int(child.stdout.readline())

    run.kill_group(child)

    assert child.returncode == -signal.SIGKILL
    wait_until(lambda: is_gone(grandchild))
    run.kill_group(child)


def test_threads_may_spawn_at_once(run: Run) -> None:
    children: list[subprocess.Popen[bytes]] = []
    threads = [
        threading.Thread(target=lambda: children.append(run.spawn(["sleep", "1000"], cwd="/", env=ENV)))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.close()

    assert [child.returncode for child in children] == [-signal.SIGKILL] * 20


def test_a_missing_program_is_an_os_error(run: Run) -> None:
    with pytest.raises(FileNotFoundError):
        run.spawn(["/no/such/program"], cwd="/", env={})


def test_folders_of_one_name_are_kept_apart(run: Run) -> None:
    first, second = run.new_folder("redis"), run.new_folder("redis")

    assert (first.name, second.name) == ("redis", "redis-2")
    assert first.parent == second.parent == run.folder
    assert run.folder.stat().st_mode & 0o777 == 0o700


def test_the_clock_starts_with_the_run(run: Run) -> None:
    first = run.clock()
    assert 0 <= first < 5
    assert run.clock() >= first


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "{temp}/other", "{temp}", "{folder}/inner", "{folder}/../.."]
)
def test_only_paths_of_the_run_are_removed(run: Run, path: str) -> None:
    with pytest.raises(ValueError, match="not a run's"):
        run.watch_path(path.format(temp=run.folder.parent, folder=run.folder))


def test_the_files_of_libfaketime_are_removed() -> None:
    if not Path(reaper.SHARED_MEMORY).is_dir():
        pytest.skip("no /dev/shm here")
    files = [Path(reaper.SHARED_MEMORY, f"{name}labkit-test-{os.getpid()}") for name in reaper.FAKETIME]
    with Run.open() as run:
        for file in files:
            run.watch_path(file)
            file.write_text("x")

    assert not any(file.exists() for file in files)


def test_a_process_number_that_went_to_another_is_left_alone() -> None:
    stranger = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        reaper.end_groups([reaper.Group(stranger.pid, since=time.time() - 60, quit_first=False)])
        time.sleep(0.05)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_process_in_the_runs_folder_goes_without_a_mark_but_not_from_a_terminal(run: Run) -> None:
    """Servers may overwrite their environment; a person may have gone to look at the folder."""
    unmarked = subprocess.Popen(["sleep", "1000"], cwd=run.folder, start_new_session=True)
    master, slave = os.openpty()
    looking = subprocess.Popen(  # takes the terminal as its own, as a login shell does
        [
            sys.executable,
            "-c",
            "import fcntl, os, termios, time; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
            "print('ready', flush=True); time.sleep(1000)",
        ],
        cwd=run.folder,
        stdin=slave,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert looking.stdout is not None
        assert looking.stdout.readline() == b"ready\n"
        reaper.sweep(run.id, [str(run.folder)], at_least=0)
        assert unmarked.wait(5) == -signal.SIGKILL
        assert looking.poll() is None
    finally:
        for process in (unmarked, looking):
            process.kill()
            process.wait()
        assert looking.stdout is not None
        looking.stdout.close()
        os.close(master)
        os.close(slave)


def test_containers_carry_the_run(run: Run) -> None:
    assert run.container_labels("unix:///no/such/engine") == {"labkit.run": run.id}


def test_ports_are_outside_the_ephemeral_range_and_reserved() -> None:
    import socket

    with free_port() as lease:
        assert LOWEST <= lease.port <= HIGHEST
        with socket.socket() as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rival:
            server.bind((LOOPBACK, lease.port))
            with pytest.raises(OSError, match="in use"):
                rival.bind((LOOPBACK, lease.port + GUARD_OFFSET))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heir:
        heir.bind((LOOPBACK, lease.port + GUARD_OFFSET))


def test_a_taken_port_is_not_leased(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.create_server((LOOPBACK, 0)) as server:
        taken = server.getsockname()[1]
        offsets = iter([taken - LOWEST, 5])
        monkeypatch.setattr("labkit.ports.GUARD_OFFSET", 0)
        monkeypatch.setattr("labkit.ports.secrets.randbelow", lambda _: next(offsets))
        with free_port() as lease:
            assert lease.port == LOWEST + 5
