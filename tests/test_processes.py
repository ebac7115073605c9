"""How processes of a submission are started, watched and ended, and what is said of the bad ones."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from labkit import clocks
from labkit.client import Client, Request
from labkit.errors import ServiceError, SubmissionError
from labkit.loop import Loop
from labkit.ports import GUARD_OFFSET, LOOPBACK
from labkit.processes import Process, run_to_end
from labkit.pulse import Pulse
from labkit.run import Run
from labkit.runtime import Command
from labkit.unconfined import Unconfined

SUBMISSIONS = Path(__file__).parent / "submissions"
PLAIN = f"{sys.executable} {SUBMISSIONS / 'plain.py'}"
BAD = f"{sys.executable} {SUBMISSIONS / 'bad.py'}"
PATIENCE_S = 20.0


class Host:
    """Starts processes as an arena does, without services and links."""

    def __init__(self, run: Run, loop: Loop, pulse: Pulse, folder: Path) -> None:
        self.run = run
        self.folder = folder
        self.processes: dict[str, Process] = {}
        self._pulse = pulse
        self._runtime = Unconfined(run)
        self.client = Client(
            loop,
            pulse,
            clock=run.clock,
            address_of=lambda name: self.processes[name].address,
            socket_of=lambda name: self.processes[name].new_socket(),
        )
        self.close_client = lambda: loop.run(self.client._close())

    def command(self, line: str, *, name: str = "web-1", env: Mapping[str, str] | None = None) -> Command:
        whole = {**os.environ, "INSTANCE": name, "PYTHONUNBUFFERED": "1", **(env or {})}
        return Command(name, shlex.split(line), self.folder, whole)

    def start(self, line: str, **more: Any) -> Process:
        command = self.command(line, **more)
        process = Process(self.run, self._pulse, command, self._runtime.open(command.name))
        self.processes[command.name] = process
        process.start()
        return process

    def healthy(self, line: str, **more: Any) -> Process:
        process = self.start(line, **more)
        process.wait_healthy(self.client)
        return process

    def run_to_end(self, line: str, *, deadline_s: float = PATIENCE_S) -> None:
        with closing(self._runtime.open("setup")) as place:
            run_to_end(place, self.command(line, name="setup"), deadline_s=deadline_s)

    def facts(self, name: str = "web-1") -> dict[str, Any]:
        """What plain.py says of itself."""
        facts: dict[str, Any] = self.client.send(Request(process=name, path="/")).json()
        return facts


@contextmanager
def open_host(folder: Path) -> Iterator[Host]:
    with Run.open() as run, Loop.open() as loop, Pulse.open(run.clock) as pulse:
        host = Host(run, loop, pulse, folder)
        yield host
        host.close_client()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with open_host(tmp_path) as opened:
        yield opened


@pytest.fixture
def refusal(host: Host, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], SubmissionError]:
    """What is said of a bad service: it is given time until it says that it listens, and a little more."""

    def refused(line: str) -> SubmissionError:
        process = host.start(line)
        wait_until(lambda: not process.running or bool(process.tail()))
        monkeypatch.setattr("labkit.processes.HEALTH_DEADLINE_S", 0.5)
        with pytest.raises(SubmissionError) as caught:
            process.wait_healthy(host.client)
        assert caught.value.exit_code == 1
        return caught.value

    return refused


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def written(path: Path, text: str, *, executable: bool = False) -> Path:
    path.write_text(textwrap.dedent(text))
    path.chmod(0o755 if executable else 0o644)
    return path


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("no-such-program --fast", "no-such-program: command not found"),
        ("./no-such-file", "./no-such-file: command not found"),
        ("./plain.txt/app", "./plain.txt/app: command not found"),
        ("./plain.txt", "./plain.txt: not executable"),
        ("./", "./: not executable"),
        ("./no-format", "./no-format: [Errno 8] Exec format error: './no-format'"),
    ],
)
def test_a_command_that_cannot_be_run(host, line, reason):
    written(host.folder / "plain.txt", "x")
    written(host.folder / "no-format", "\x7fELF?", executable=True)

    with pytest.raises(SubmissionError) as caught:
        host.start(line)

    assert caught.value.message == f"web-1 cannot be started: {reason}"
    assert caught.value.remedy == f"check the command in lab.toml: {line}"
    assert caught.value.exit_code == 1


def test_a_program_is_found_as_its_own_process_would_find_it(host):
    """On the PATH that it gets, and from the folder in which it starts."""
    (host.folder / "bin").mkdir()
    for path in (host.folder / "bin" / "server", host.folder / "start.sh"):
        written(path, f'#!/bin/sh\nexec {PLAIN} "$@"\n', executable=True)

    host.healthy("./start.sh one", name="web-1")
    host.healthy(
        "server 'one two'", name="web-2", env={"PATH": f"{host.folder / 'bin'}:{os.environ['PATH']}"}
    )

    assert host.facts("web-1")["argv"] == ["one"]
    assert host.facts("web-2")["argv"] == ["one two"]


def test_one_that_exits_at_once(refusal):
    error = refusal(f"{BAD} exits_at_once")

    assert error.message == "web-1 ended by itself before it answered /healthz: exit code 3"
    assert error.remedy == f"run its command in the folder: {BAD} exits_at_once"
    assert error.output == ("cannot read config.yaml: no such file",)


def test_one_that_is_killed_by_a_signal(refusal):
    error = refusal("sh -c 'kill -SEGV $$'")

    assert error.message == "web-1 ended by itself before it answered /healthz: killed by SIGSEGV"


def test_one_that_never_listens(refusal, host):
    error = refusal(f"{BAD} never_listens")

    assert error.message == "web-1 did not answer GET /healthz with 200 within 0.5 s: connection refused"
    address = host.processes["web-1"].address
    assert error.remedy == f"it has to listen on HOST:PORT of its environment, here {address}"
    assert error.output == ("warming up",)


def test_one_that_listens_on_another_port(refusal, host):
    error = refusal(f"{BAD} listens_on_another_port")

    assert error.message.endswith("within 0.5 s: connection refused")
    port = error.output[0].rpartition(" ")[2]
    assert error.remedy.endswith(f"here {host.processes['web-1'].address}; it listens on port {port} instead")


def test_one_whose_child_listens_on_another_port(refusal):
    error = refusal(f"sh -c '{BAD} listens_on_another_port; true'")

    port = error.output[0].rpartition(" ")[2]
    assert error.remedy.endswith(f"; it listens on port {port} instead")


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("fails_its_health", "its status was 500"),
        ("closes_every_connection", "connection closed without an answer"),
        ("speaks_no_http", "an answer that is not HTTP"),
        ("never_answers_its_health", "no answer within 1 s"),
        ("drips_its_health", "no answer within 1 s"),
    ],
)
def test_one_that_listens_and_is_not_healthy(refusal, fault, seen):
    error = refusal(f"{BAD} {fault}")

    assert error.message == f"web-1 did not answer GET /healthz with 200 within 0.5 s: {seen}"
    assert error.remedy == "GET /healthz has to work without any service and without a key"


def test_one_that_floods_its_output(host, monkeypatch):
    monkeypatch.setattr("labkit.processes.LONGEST_OUTPUT", 1 << 20)
    process = host.start(f"{BAD} floods_its_output")

    with pytest.raises(SubmissionError) as caught:
        process.wait_healthy(host.client)

    assert caught.value.message == "web-1 was ended: it wrote more than 1 MiB of output"
    assert all(len(line) <= 400 for line in caught.value.output)
    assert not process.running


def test_what_a_process_is_told(host):
    process = host.healthy(f"{PLAIN} 'a b'", name="web-2", env={"RATE_LIMIT": "10"})
    facts = host.facts("web-2")

    assert f"{facts['HOST']}:{facts['PORT']}" == process.address
    assert (facts["INSTANCE"], facts["RATE_LIMIT"], facts["argv"]) == ("web-2", "10", ["a b"])
    assert Path(facts["cwd"]) == host.folder.resolve()
    assert facts["LABKIT_RUN"] == host.run.id


def test_a_killed_process_starts_again_on_another_port(host):
    process = host.healthy(PLAIN)
    before = process.address, host.facts()["pid"]

    process.kill()

    assert not process.running
    assert is_gone(before[1])
    gone = host.client.send(Request(process="web-1", path="/"))
    assert gone.failure == "connection refused"
    process.start()
    process.wait_healthy(host.client)
    assert process.running
    assert process.address != before[0]
    assert host.facts()["pid"] != before[1]


def is_leased(address: str) -> bool:
    """Whether graders keep off the port: whoever has it holds the UDP port above it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as guard:
        try:
            guard.bind((LOOPBACK, int(address.rpartition(":")[2]) + GUARD_OFFSET))
        except OSError:
            return True
    return False


def test_a_closed_process_gives_its_port_back(host):
    process = host.healthy(PLAIN)
    first, pid = process.address, host.facts()["pid"]
    process.kill()
    assert is_leased(first)
    process.start()
    assert not is_leased(first)

    process.close()

    assert is_gone(pid)
    assert not is_leased(process.address)


def test_a_port_is_kept_while_its_process_may_live(host, monkeypatch):
    process = host.healthy(PLAIN)

    def refuse() -> None:
        raise ServiceError("it does not end")

    with monkeypatch.context() as patched:
        patched.setattr(process, "kill", refuse)
        with pytest.raises(ServiceError):
            process.close()

    assert process.running
    assert is_leased(process.address)


@pytest.mark.parametrize("code", [0, 7])
def test_the_exit_code_after_sigterm(host, code):
    process = host.healthy(PLAIN, env={"CODE": str(code)})

    assert process.terminate() == code
    assert process.tail() == ["leaving"]
    assert not process.running


def test_between_sigterm_and_the_end_something_can_be_done(host):
    process = host.healthy(PLAIN)
    seen = []

    assert process.terminate(then=lambda: seen.append("sent")) == 0
    assert seen == ["sent"]


def test_one_that_ignores_sigterm_is_killed_at_the_deadline(host, monkeypatch):
    monkeypatch.setattr("labkit.processes.STOP_DEADLINE_S", 0.3)
    process = host.healthy(PLAIN, env={"CODE": "-1"})
    pid = host.facts()["pid"]

    assert process.terminate() is None
    assert is_gone(pid)


def test_children_die_with_their_process_and_those_that_left_with_the_run(tmp_path):
    with open_host(tmp_path) as host:
        process = host.healthy(f"{BAD} leaves_stubborn_children")
        children = psutil.Process(process._child._child.pid).children()
        wait_until(lambda: all(ignores_sigterm(child.pid) for child in children))
        within = [child for child in children if os.getpgid(child.pid) != child.pid]

        process.kill()

        assert (len(children), len(within)) == (2, 1)
        wait_until(lambda: is_gone(within[0].pid))
    assert all(is_gone(child.pid) for child in children)


def ignores_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():  # where there is no /proc a moment has to do
        time.sleep(0.5)
        return True
    ignored = next(line for line in status.read_text().splitlines() if line.startswith("SigIgn"))
    return bool(int(ignored.split()[1], 16) & 1 << (signal.SIGTERM - 1))


def test_a_paused_process_accepts_and_does_not_answer_until_it_goes_on(host):
    process = host.healthy(PLAIN)

    process.pause()
    paused = host.client.send(Request(process="web-1", path="/"), deadline_s=0.3)
    assert paused.failure == "no answer within 0.3 s"
    assert process.running

    process.resume()
    assert host.client.send(Request(process="web-1", path="/")).status == 200


def test_a_paused_process_can_be_killed(host):
    process = host.healthy(PLAIN)
    process.pause()
    process.kill()

    assert not process.running


def test_the_last_lines_are_kept_as_they_can_be_read(host):
    script = written(
        host.folder / "talk.py",
        r"""
        import os
        for number in range(1000):
            os.write(1, b"line %d\n" % number)
        os.write(1, b"x" * 100_000 + b"\n")
        os.write(2, b"bad \xff byte\r\n\n")
        os.write(1, b"no end of line")
        """,
    )
    with pytest.raises(SubmissionError) as caught:
        host.run_to_end(f"sh -c '{sys.executable} {script}; exit 9'")

    lines = caught.value.output
    assert lines[-6:] == (
        "line 998",
        "line 999",
        "x" * 400,
        "bad \N{REPLACEMENT CHARACTER} byte",
        "",
        "no end of line",
    )
    assert len(lines) == 12


def test_what_is_run_to_its_end(host):
    host.run_to_end("sh -c 'echo done > made'")

    assert (host.folder / "made").read_text() == "done\n"
    with pytest.raises(SubmissionError, match=r"setup failed: exit code 4") as caught:
        host.run_to_end("sh -c 'echo cannot find libfoo; exit 4'")
    assert caught.value.output == ("cannot find libfoo",)
    with pytest.raises(SubmissionError, match=r"setup failed: still running after 0.3 s"):
        host.run_to_end("sh -c 'sleep 60; true'", deadline_s=0.3)


def test_what_runs_to_its_end_may_leave_nothing_running(host):
    host.run_to_end("sh -c 'sleep 61 & echo $! > pid'")

    # killed at once, and gone as soon as the system has come to it
    wait_until(lambda: is_gone(int((host.folder / "pid").read_text())))


@pytest.mark.skipif(clocks.library() is None, reason="there is no libfaketime for this machine")
def test_one_process_sees_another_time_of_day(tmp_path):
    def time_of(host: Host, name: str) -> float:
        answer = host.client.send(Request(process=name, path="/"))
        told = clocks.time_of_day(answer.headers["date"])
        assert told is not None
        return told - time.time()

    with open_host(tmp_path) as host:
        for name, skew in (("web-1", 3600.0), ("web-2", -1800.0), ("web-3", 0.0)):
            host.healthy(PLAIN, name=name, env=clocks.skewed(skew) if skew else None)
        skews = [time_of(host, name) for name in host.processes]
        pids = [host.facts(name)["pid"] for name in host.processes]

    assert skews == [pytest.approx(3600, abs=5), pytest.approx(-1800, abs=5), pytest.approx(0, abs=5)]
    left = [path for pid in pids for path in Path("/dev/shm").glob(f"*faketime*_{pid}")]  # noqa: S108
    assert left == []


def test_a_broken_date_is_no_time():
    assert clocks.time_of_day("Tue, 15 Nov 1994 08:12:31 GMT") == 784887151
    assert clocks.time_of_day("yesterday") is None
    assert clocks.time_of_day(None) is None
