"""A submission in containers: what it can reach and use, what it is told, and the verdicts it gets."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import docker
import pytest

from labkit import clocks
from labkit.catalogue import Lab, find_lab, labs
from labkit.client import REFUSED, Client, Exchange, Request
from labkit.errors import ServiceError, SubmissionError, UsageError
from labkit.execution import planned_checks
from labkit.isolation import Isolation, limits
from labkit.links import Link
from labkit.loop import Loop
from labkit.processes import Process
from labkit.proving.cases import cases_of
from labkit.pulse import Pulse
from labkit.run import Run
from labkit.runtime import Command
from labkit.services import TcpAddress, engine
from labkit.services.images import image
from labkit.submission import Submission, read_submission

LAB = find_lab("rate-limiter")
# All of one lab, and one of each other: what isolation changes is the ways to the services, the same for all.
REFERENCES = [(LAB, reference) for reference in LAB.references] + [
    (lab, min(lab.references)) for lab in labs().values() if lab.slug != LAB.slug
]
ROOT = Path(__file__).parent.parent
CLEARED_WITHIN_S = 10.0
RUNNER = image("runner_python")
OPTIONS = '[options]\nalgorithm = "fixed-window"\non_redis_outage = "closed"\n'

# A submission that evaluates what it is asked, and answers with the value or the error's name, in JSON.
OBEDIENT = """
import errno, json, os, signal, socket, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

class Obedient(BaseHTTPRequestHandler):
    def do_GET(self):
        asked = unquote(self.path[1:])
        try:
            answer = None if asked == "healthz" else eval(asked)
        except OSError as error:
            answer = errno.errorcode.get(error.errno, str(error))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        pass

def status(key):
    return next(line.split()[1] for line in open("/proc/self/status") if line.startswith(key + ":"))

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
print("about to listen", flush=True)
ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Obedient).serve_forever()
"""


def submission(
    folder: Path, program: str = OBEDIENT, *, head: str = "", command: str = "python app.py"
) -> Submission:
    """A submission of one file; `head` comes before the processes in its lab.toml."""
    folder.mkdir(exist_ok=True)
    (folder / "app.py").write_text(program)
    manifest = f'lab = "rate-limiter"\n{head}\n[processes]\nweb = "{command}"\n{OPTIONS}'
    (folder / "lab.toml").write_text(manifest)
    return read_submission(folder)


@dataclass(frozen=True)
class Isolated:
    """One isolated process, `web-1`, and a client of it."""

    run: Run
    loop: Loop
    isolation: Isolation
    process: Process
    client: Client

    def start(self) -> None:
        self.process.start()
        self.process.wait_healthy(self.client)

    def send(self, asked: str, *, deadline_s: float = 5.0) -> Exchange:
        return self.client.send(Request("web-1", "/" + quote(asked, safe="")), deadline_s=deadline_s)

    def ask(self, asked: str) -> Any:
        """What the submission gets for a Python expression, or the name of the error."""
        exchange = self.send(asked)
        assert exchange.status == 200, exchange
        return exchange.json()


@contextmanager
def isolated(run: Run, given: Submission, *, skew: float = 0.0) -> Iterator[Isolated]:
    with ExitStack() as stack:
        loop = stack.enter_context(Loop.open())
        pulse = stack.enter_context(Pulse.open(run.clock))
        isolation = stack.enter_context(Isolation.opened(run, given))
        isolation.set_up(given)
        env = {**isolation.environment, **(isolation.skewed(skew) if skew else {})}
        command = Command("web-1", given.commands["web"], given.folder, env)
        process = Process(run, pulse, command, isolation.open("web-1"))
        stack.callback(process.close)
        client = Client.open(
            loop,
            pulse,
            clock=run.clock,
            address_of=lambda _: process.address,
            socket_of=lambda _: process.new_socket(),
        )
        yield Isolated(run, loop, isolation, process, stack.enter_context(client))


@pytest.fixture(scope="module")
def obedient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Isolated]:
    """The obedient submission, healthy, in a folder that has more in it than a submission."""
    folder = tmp_path_factory.mktemp("obedient")
    for name in (".git", ".labkit"):
        (folder / name).mkdir()
        (folder / name / "secret").write_text("of the grader")
    (folder / "hosts").symlink_to("/etc/machine-id")
    os.environ["GRADERS_SECRET"] = "hidden"  # noqa: S105 - the point is that it is not seen
    try:
        with Run.open() as run, isolated(run, submission(folder)) as found:
            found.start()
            yield found
    finally:
        del os.environ["GRADERS_SECRET"]


@pytest.fixture
def engine_client() -> Iterator[docker.DockerClient]:
    connected = engine.connect()
    yield connected
    connected.close()


def submission_images(client: docker.DockerClient) -> set[str]:
    """Ids of the images that were built from Dockerfiles of submissions."""
    built = client.images.list(filters={"label": "labkit=1"})
    return {found.id for found in built if any(tag.startswith("labkit-submission:") for tag in found.tags)}


def of_run(run: str) -> list[Any]:
    client = engine.connect()
    try:
        return client.containers.list(all=True, filters={"label": f"labkit.run={run}"}, ignore_removed=True)
    finally:
        client.close()


def left_after_a_while(run: str) -> list[Any]:
    """The run's containers, once the engine has had its time to remove them."""
    deadline = time.monotonic() + CLEARED_WITHIN_S
    while (left := of_run(run)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


@pytest.mark.docker
@pytest.mark.parametrize(
    ("attempt", "answer"),
    [
        ("open('/probe', 'w')", "EROFS"),
        ("open('/usr/local/bin/python3', 'w')", "EROFS"),
        ("os.chmod('app.py', 0o777)", "EROFS"),
        ("open('/tmp/much', 'wb').write(bytes(65 << 20))", "ENOSPC"),
        ("os.setuid(0)", "EPERM"),
        ("os.mknod('/tmp/disk', 0o60600, os.makedev(8, 0))", "EPERM"),
        ("open('/proc/sys/kernel/core_pattern', 'w')", "EROFS"),
        ("open('/etc/shadow')", "EACCES"),
        ("os.listdir('/run/labkit')", "ENOENT"),
        ("open('.git/secret')", "ENOENT"),
        ("open('.labkit/secret')", "ENOENT"),
        ("socket.create_connection(('192.0.2.1', 80), 2)", "ENETUNREACH"),
        ("socket.create_connection(('172.17.0.1', 22), 2)", "ENETUNREACH"),
        ("socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "EPERM"),
    ],
)
def test_what_serving_does_not_need_is_refused(obedient: Isolated, attempt: str, answer: str) -> None:
    assert obedient.ask(attempt) == answer


@pytest.mark.docker
@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("[os.getuid(), os.getgid(), os.getgroups()]", [limits.USER, limits.USER, [limits.USER]]),
        ("[status('CapEff'), status('CapBnd'), status('NoNewPrivs')]", ["0" * 16, "0" * 16, "1"]),
        ("[name for _, name in socket.if_nameindex()]", ["lo"]),
        ("[int(name) for name in os.listdir('/proc') if name.isdigit()][0]", 1),
        ("sorted(os.listdir('.'))", ["app.py", "hosts", "lab.toml"]),
        ("os.getcwd()", "/srv"),
        ("open('/tmp/little', 'w').write('kept')", 4),
        ("os.environ.get('GRADERS_SECRET')", None),
    ],
)
def test_a_process_is_nobody_and_sees_only_itself(obedient: Isolated, asked: str, answer: object) -> None:
    assert obedient.ask(asked) == answer


@pytest.mark.docker
def test_the_graders_own_loopback_is_another(obedient: Isolated) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        answer = obedient.ask(f"socket.create_connection(('127.0.0.1', {port}), 2)")

    assert answer == "ECONNREFUSED"


@pytest.mark.docker
def test_a_link_leads_out_until_it_refuses(obedient: Isolated) -> None:
    with socket.create_server(("127.0.0.1", 0)) as service:
        upstream = TcpAddress("127.0.0.1", service.getsockname()[1])
        link = Link(
            obedient.loop,
            process="web-1",
            service="postgres",
            upstream=upstream,
            new_socket=obedient.process.new_socket,
        )
        connect = f"socket.create_connection(('127.0.0.1', {link.address.port}), 2).getpeername()[1]"
        try:
            link.open()
            assert obedient.ask(connect) == link.address.port
            link.refuse()
            assert obedient.ask(connect) == "ECONNREFUSED"
            link.open()
            assert obedient.ask(connect) == link.address.port
        finally:
            link.close()


@pytest.mark.docker
def test_stop_kill_pause_and_restart_do_what_they_do_outside(run: Run, tmp_path: Path) -> None:
    with isolated(run, submission(tmp_path / "it")) as it:
        it.start()
        assert it.process.tail() == ["about to listen"]

        it.process.pause()
        assert it.send("1", deadline_s=0.3).failure == "no answer within 0.3 s"
        it.process.resume()
        assert it.ask("1") == 1
        assert it.process.terminate() == 0
        assert it.send("1").failure == REFUSED

        first = it.process.address
        it.start()
        assert it.process.address != first
        it.process.pause()
        it.process.kill()
        assert not it.process.running
        assert it.send("1").failure == REFUSED


@pytest.mark.docker
def test_a_process_without_a_handler_is_ended_by_sigterm(run: Run, tmp_path: Path) -> None:
    program = OBEDIENT.replace("signal.signal(", "print(")
    with isolated(run, submission(tmp_path / "it", program)) as it:
        it.start()
        assert it.process.terminate() == 128 + 15


FORKS = "import os\nwhile True:\n    os.fork()\n"
EATS = "print('eating', flush=True)\nkept = []\nwhile True:\n    kept.append(b'x' * (1 << 20))\n"
FLOODS = "while True:\n    print('x' * 1000)\n"
ELSEWHERE = OBEDIENT.replace('int(os.environ["PORT"])', "8123")


@pytest.mark.docker
@pytest.mark.parametrize(
    ("program", "message", "hint"),
    [
        (FORKS, "web-1 ended by itself before it answered /healthz: exit code 1", "--pids-limit 256"),
        (EATS, "killed, since it needed more than its 512 MiB of memory", "--memory 512m"),
        (FLOODS, "web-1 was ended: it wrote more than 64 MiB of output", "log a line a request"),
        ("print(undefined)", "exit code 1", "docker run --rm --network none --read-only"),
    ],
)
def test_what_takes_too_much_is_told_so(
    run: Run, tmp_path: Path, program: str, message: str, hint: str
) -> None:
    with isolated(run, submission(tmp_path / "it", program)) as it, pytest.raises(SubmissionError) as told:
        it.start()

    assert message in told.value.message
    assert hint in str(told.value.remedy)
    assert told.value.output
    assert left_after_a_while(run.id) == []


@pytest.mark.docker
@pytest.mark.slow
def test_another_port_is_named_and_no_link_taken_for_one(run: Run, tmp_path: Path) -> None:
    with isolated(run, submission(tmp_path / "it", ELSEWHERE)) as it:
        link = Link(
            it.loop,
            process="web-1",
            service="redis",
            upstream=TcpAddress("127.0.0.1", 1),
            new_socket=it.process.new_socket,
        )
        link.open()
        with pytest.raises(SubmissionError) as told:
            it.start()
        link.close()

    assert "it listens on port 8123 instead" in str(told.value.remedy)


@pytest.mark.docker
def test_a_command_that_the_image_lacks_is_named(run: Run, tmp_path: Path) -> None:
    given = submission(tmp_path / "it", command="python3.1 app.py")
    with isolated(run, given) as it, pytest.raises(SubmissionError) as told:
        it.start()

    assert "exit code 127" in told.value.message
    assert "python3.1" in told.value.output[-1]


@pytest.mark.docker
@pytest.mark.skipif(clocks.library() is None, reason="libfaketime has no library for this machine")
def test_a_clock_can_be_wrong_in_a_container(run: Run, tmp_path: Path) -> None:
    with isolated(run, submission(tmp_path / "it"), skew=-1000.0) as it:
        it.start()
        assert it.ask("time.time()") == pytest.approx(time.time() - 1000, abs=5)
        assert it.ask("open('/probe', 'w')") == "EROFS"


@pytest.fixture
def dockerfile(tmp_path: Path, engine_client: docker.DockerClient) -> Iterator[Callable[[str], Submission]]:
    """Makes a submission with a Dockerfile that begins with the runner image; its image is removed."""
    there = submission_images(engine_client)

    def make(steps: str, base: str = RUNNER) -> Submission:
        given = submission(tmp_path / "it", head='[setup]\ncommand = "false"')
        (given.folder / "Dockerfile").write_text(f"FROM {base}\n{steps}\n")
        return given

    yield make
    for left in submission_images(engine_client) - there:
        engine_client.images.remove(left, force=True)


@pytest.mark.docker
def test_a_dockerfile_is_built_and_run_as_its_user(run: Run, dockerfile: Callable[[str], Submission]) -> None:
    steps = 'WORKDIR /app\nCOPY app.py .\nVOLUME /data\nUSER 10001\nENTRYPOINT ["false"]'
    with isolated(run, dockerfile(steps)) as it:
        it.start()
        volumes = [mount["Type"] for container in of_run(run.id) for mount in container.attrs["Mounts"]]

        assert it.ask("[os.getuid(), os.getcwd(), os.listdir('.')]") == [10001, "/app", ["app.py"]]
        assert it.ask("open('/data/kept', 'w').write('in memory')") == 9
        assert it.ask("open('/app/probe', 'w')") == "EROFS"
    assert "volume" not in volumes


@pytest.mark.docker
def test_a_later_build_replaces_the_earlier_image(
    run: Run, dockerfile: Callable[[str], Submission], engine_client: docker.DockerClient
) -> None:
    given = dockerfile("COPY app.py /srv")
    there = submission_images(engine_client)
    with Isolation.opened(run, given) as isolation:
        isolation.set_up(given)
        (first,) = submission_images(engine_client) - there
        (given.folder / "app.py").write_text("changed")
        isolation.set_up(given)
        (second,) = submission_images(engine_client) - there

    assert first != second
    with pytest.raises(docker.errors.ImageNotFound):
        engine_client.images.get(first)


@pytest.mark.docker
@pytest.mark.parametrize("user", ["root", "0", "0:0", "app"])
def test_a_dockerfile_cannot_make_itself_root(
    run: Run, dockerfile: Callable[[str], Submission], user: str
) -> None:
    named = "RUN echo app:x:0:0::/:/bin/sh >>/etc/passwd" if user == "app" else ""
    with isolated(run, dockerfile(f"COPY app.py /srv\n{named}\nUSER {user}")) as it:
        it.start()
        assert it.ask("os.getuid()") == limits.USER


@pytest.mark.docker
def test_a_step_that_fails_is_the_submissions_fault(
    run: Run, dockerfile: Callable[[str], Submission]
) -> None:
    with pytest.raises(SubmissionError) as told, isolated(run, dockerfile("RUN echo no such thing; exit 3")):
        pass

    assert "its Dockerfile cannot be built" in told.value.message
    assert "returned a non-zero code: 3" in told.value.message
    assert "no such thing" in told.value.output


@pytest.mark.docker
def test_a_base_that_cannot_be_had_is_not_the_submissions_fault(
    run: Run, dockerfile: Callable[..., Submission]
) -> None:
    given = dockerfile("", "registry.invalid/base:1")

    with (
        pytest.raises(ServiceError, match=r"registry\.invalid/base:1, on which .* builds, is not to be had"),
        isolated(run, given),
    ):
        pass


@pytest.mark.docker
def test_without_a_dockerfile_only_what_the_runner_can_do_is_isolated(run: Run, tmp_path: Path) -> None:
    set_up = submission(tmp_path / "it", head='[setup]\ncommand = "make"')
    with pytest.raises(UsageError, match="has a setup command and no Dockerfile"), isolated(run, set_up):
        pass
    foreign = submission(tmp_path / "it", command="./serve")
    with pytest.raises(UsageError, match=r"no runner image for \./serve"), isolated(run, foreign):
        pass


@pytest.mark.docker
def test_a_missing_runner_image_is_said_with_the_command_that_builds_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_IMAGE_RUNNER_PYTHON", "registry.invalid/runner:1")

    with pytest.raises(ServiceError) as told, isolated(run, submission(tmp_path / "it")):
        pass

    assert told.value.message == "the Docker engine has no image registry.invalid/runner:1"
    *command, recipe = str(told.value.remedy).partition(", or grade without")[0].split()
    assert command == ["docker", "build", "-t", "registry.invalid/runner:1"]
    assert (Path(recipe) / "Dockerfile").is_file()


def test_an_engine_on_another_kernel_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere:
        def info(self) -> dict[str, str]:
            return {"KernelVersion": "6.6.12-linuxkit"}

        def close(self) -> None:
            pass

    monkeypatch.setattr(engine, "connect", lambda **_: Elsewhere())

    with (
        pytest.raises(ServiceError, match="on this very machine") as told,
        isolated(run, submission(tmp_path / "it")),
    ):
        pass
    assert "not Docker Desktop" in str(told.value.remedy)


def test_the_runner_has_what_the_references_need() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    runner = ROOT / "labkit" / "isolation" / "runners" / "python" / "requirements.txt"

    listed = [line for line in runner.read_text().splitlines() if not line.startswith("#")]

    assert set(extras["references"]) <= set(listed)


def graded(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from labkit.cli import grade_main; sys.exit(grade_main())"
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **variables},
    )


def test_nothing_is_graded_unisolated_where_there_is_no_engine(tmp_path: Path) -> None:
    given = submission(tmp_path / "it", "open('started', 'w')")

    told = graded(given.folder, "--isolate", "--services", "embedded", DOCKER_HOST=f"unix://{tmp_path}/none")

    assert told.returncode == 3
    said = " ".join(told.stderr.split())
    assert f"there is no Docker engine: {tmp_path}/none does not exist" in said
    assert "or grade without --isolate, if you trust the submission" in said
    assert not (given.folder / "started").exists()


GRADER = """
import sys, time
from pathlib import Path
from labkit.isolation import Isolation
from labkit.run import Run
from labkit.runtime import Command
from labkit.submission import read_submission
run, given = Run(), read_submission(Path(sys.argv[1]))
with Isolation.opened(run, given) as isolation:
    isolation.set_up(given)
    place = isolation.open("web-1")
    command = Command("web-1", given.commands["web"], given.folder, {})
    place.start(command, {"HOST": "127.0.0.1", "PORT": "8000"})
    print(run.id, flush=True)
    time.sleep(60)
"""


@pytest.mark.docker
def test_nothing_outlives_a_grader_that_is_killed(tmp_path: Path) -> None:
    given = submission(tmp_path / "it")
    arguments = [sys.executable, "-c", GRADER, str(given.folder)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as grader:
        assert grader.stdout is not None
        run = grader.stdout.readline().strip()
        there = len(of_run(run))
        grader.kill()

    assert there == 2
    assert left_after_a_while(run) == []


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.parametrize(("lab", "reference"), REFERENCES, ids=lambda value: getattr(value, "slug", value))
def test_references_pass_isolated(lab: Lab, reference: str) -> None:
    told = graded(lab.slug, "--reference", reference, "--services", "embedded", "--isolate", "--json", "-")

    result = json.loads(told.stdout)
    failing = {check["id"]: check["message"] for check in result["checks"] if check["verdict"] != "passed"}
    assert failing == {}
    assert told.returncode == 0
    assert f"isolated: a container without a network for each process, from {RUNNER}" in told.stderr


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.parametrize(
    "mutant",
    [
        "counts-in-process-memory",
        "dies-at-sigterm",
        "ends-by-the-signal",
        "expiry-in-a-second-step",
        "instance-is-the-host-name",
        "listens-on-a-fixed-port",
        "passes-though-closed",
        "time-of-the-replica",
    ],
)
def test_mutants_fall_isolated_to_the_check_that_claims_them(tmp_path: Path, mutant: str) -> None:
    cases, _ = cases_of(LAB)
    next(case for case in cases if case.name == mutant).make(tmp_path / "it")
    claiming = next(check.id for check in planned_checks(LAB) if mutant in check.kills)

    told = graded(tmp_path / "it", "--isolate", "--services", "embedded", "--only", claiming, "--json", "-")

    (check,) = json.loads(told.stdout)["checks"]
    assert check["verdict"] == "failed", check["message"]
    assert told.returncode == 1
