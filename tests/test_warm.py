"""Services that are kept between gradings: lent whole, as new for each borrower, gone when they are ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import docker
import psutil
import pytest

from labkit.cli.ending import exit_code
from labkit.cli.lab import lab
from labkit.errors import ServiceDown, UnknownName
from labkit.run import Run
from labkit.services import TcpAddress, choice, engine, pool
from labkit.services.choice import choose_kind, choose_provider, engine_is_absent, own_provider
from labkit.services.kafka import Kafka
from labkit.services.loans import Line
from labkit.services.pool import Pool, clear_after, launch, read_pool
from labkit.services.postgres import Postgres
from labkit.services.redis import Redis
from labkit.services.warm import Warm

SOMEWHERE = TcpAddress("127.0.0.1", 7)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder of the test's own: the user may keep services too. Its keeper ends with the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    yield tmp_path / "labkit"
    left = read_pool()
    if left is not None and (process := left.process()) is not None and process.pid != os.getpid():
        process.terminate()
        pool.end(left, process)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """A pool for those tests that leave it as it was: one server of each kind."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("shared")))
        launch("embedded", {"redis": 1, "postgres": 1, "kafka": 1})
        kept = read_pool()
    assert kept is not None
    yield kept
    process = kept.process()
    assert process is not None
    process.terminate()
    process.wait(10)


@pytest.fixture
def keep() -> Callable[..., Pool]:
    """Starts a keeper; `state` ends it."""

    def start(counts: Mapping[str, int], provider: str = "embedded") -> Pool:
        launch(provider, counts)
        started = read_pool()
        assert started is not None
        return started

    return start


def warm(kept: Pool, run: Run) -> Warm:
    return Warm(kept, partial(own_provider, kept.provider, run))


def asked(kept: Pool, **question: Any) -> dict[str, Any]:
    line = Line(kept.socket)
    try:
        return line.ask(**question)
    finally:
        line.close()


def states(kept: Pool) -> list[str]:
    return [server["state"] for server in asked(kept, want="status")["servers"]]


def wait_until_free(kept: Pool, patience: float = 10.0) -> None:
    """A borrower that leaves does not wait until its server is as new."""
    wait_until(lambda: set(states(kept)) == {"free"}, patience)


def wait_until(condition: Callable[[], bool], patience: float) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def identity(redis: Redis) -> str:
    """What a Redis calls itself, anew at each start."""
    with redis.client() as client:
        return str(client.info("server")["run_id"])


def servers_of(kept: Pool) -> list[psutil.Process]:
    """The embedded servers that a keeper has started, without its reaper."""
    keeper = kept.process()
    assert keeper is not None
    return [child for child in keeper.children() if "python" not in child.name()]


def test_each_loan_is_a_whole_server_and_who_finds_none_starts_its_own(keep, run):
    kept = keep({"redis": 2})
    provider = warm(kept, run)

    with provider.open("redis") as one, provider.open("redis") as two, provider.open("redis") as own:
        places = [str(service.host.address) for service in (one, two, own)]
        assert len(set(places)) == 3
        assert [place.startswith(str(run.folder)) for place in places] == [False, False, True]
        assert (
            one.environment(SOMEWHERE)
            == own.environment(SOMEWHERE)
            == {"REDIS_URL": f"redis://{SOMEWHERE}/0"}
        )
        assert {server["borrower"]["pid"] for server in asked(kept, want="status")["servers"]} == {
            os.getpid()
        }


def test_redis_is_lent_again_without_what_the_last_borrower_left(shared, run):
    with warm(shared, run).open("redis") as redis:
        first = identity(redis)
        redis.client(db=3).set("left", "1")
        sha = redis.client().script_load("return 1")
    wait_until_free(shared)

    with warm(shared, run).open("redis") as redis:
        assert identity(redis) == first
        assert redis.client().info("keyspace") == {}
        assert redis.client().script_exists(sha) == [False]


def test_a_connection_that_outlives_its_loan_is_cut(shared, run):
    with warm(shared, run).open("redis") as redis:
        late = socket.socket(socket.AF_UNIX)
        late.connect(redis.host.address.path)
        late.sendall(b"*1\r\n$4\r\nPING\r\n")
        assert late.recv(100) == b"+PONG\r\n"
    wait_until_free(shared)

    assert late.recv(100) == b""


@pytest.mark.parametrize(
    "command", ["CONFIG SET maxmemory 1mb", "DEBUG SET-ACTIVE-EXPIRE 0", "CONFIG RESETSTAT"]
)
def test_redis_whose_settings_were_touched_is_replaced(shared, run, command):
    with warm(shared, run).open("redis") as redis:
        first = identity(redis)
        redis.client().execute_command(*command.split())
    wait_until_free(shared)

    with warm(shared, run).open("redis") as redis:
        assert identity(redis) != first
        assert redis.client().config_get("maxmemory") == {"maxmemory": "0"}


def test_faults_are_done_to_a_lent_server_and_nobody_gets_it_afterwards(shared, run):
    with warm(shared, run).open("redis") as redis:
        first = identity(redis)
        redis.client().set("kept", "1")
        redis.host.stop()
        with pytest.raises(ServiceDown):
            redis.ping(0.5)
        redis.host.start()
        assert redis.client().get("kept") == b"1"
        assert redis.host.log
        redis.host.pause()
    wait_until_free(shared)

    with warm(shared, run).open("redis") as redis:
        assert identity(redis) != first
        assert redis.client().dbsize() == 0


def test_error_of_the_keeper_is_raised_at_the_borrower(shared, run):
    with warm(shared, run).open("kafka") as kafka:
        with pytest.raises(engine.ServiceError, match="would come back without its data") as caught:
            kafka.host.stop()
        assert (type(caught.value).__name__, caught.value.remedy is None) == ("FaultUnavailable", False)
        assert isinstance(kafka, Kafka)
        assert kafka.version.startswith("Tansu")
        assert kafka.mend
        kafka.ping()


def test_postgres_is_lent_again_with_a_new_database_for_the_same_login(shared, run):
    with warm(shared, run).open("postgres") as postgres:
        assert isinstance(postgres, Postgres)
        url, place = postgres.environment(SOMEWHERE), postgres.host.address
        with as_submission(postgres) as connection:
            connection.execute("CREATE TABLE left_behind (n int)")
            connection.execute("ALTER ROLE CURRENT_USER SET work_mem = '1MB'")
    wait_until_free(shared)

    with warm(shared, run).open("postgres") as postgres:
        assert (postgres.environment(SOMEWHERE), postgres.host.address) == (url, place)
        with as_submission(postgres) as connection:
            assert connection.execute("SELECT to_regclass('left_behind')").fetchone() == (None,)
            assert connection.execute("SHOW work_mem").fetchone() != ("1MB",)
            connection.execute("CREATE TABLE fresh (n int)")


def test_postgres_whose_server_was_set_up_otherwise_is_replaced(shared, run):
    with warm(shared, run).open("postgres") as postgres, postgres.connect(autocommit=True) as connection:
        place = postgres.host.address
        connection.execute("ALTER SYSTEM SET work_mem = '1MB'")
    wait_until_free(shared)

    with warm(shared, run).open("postgres") as postgres:
        assert postgres.host.address != place


def as_submission(postgres: Postgres):
    return postgres.connect(user=postgres.guest.user, password=postgres.guest.password)


BORROWER = """
import sys, time
from labkit.services.pool import read_pool
from labkit.services.warm import Warm
with Warm(read_pool(), None).open("redis") as redis:
    redis.client().set("left", "1")
    print(redis.host.address, flush=True)
    time.sleep(60)
"""


def test_loan_of_a_borrower_that_was_killed_ends(keep, run):
    kept = keep({"redis": 1})
    with subprocess.Popen([sys.executable, "-c", BORROWER], stdout=subprocess.PIPE, text=True) as borrower:
        place = borrower.stdout.readline().strip()
        assert states(kept) == ["lent"]
        borrower.kill()
    wait_until_free(kept)

    with warm(kept, run).open("redis") as redis:
        assert str(redis.host.address) == place
        assert redis.client().dbsize() == 0


def test_server_that_died_is_not_lent_but_replaced(keep, run):
    kept = keep({"redis": 1})
    (server,) = servers_of(kept)
    server.kill()
    wait_until(lambda: server.status() == psutil.STATUS_ZOMBIE, 5)

    with warm(kept, run).open("redis") as own:
        assert str(own.host.address).startswith(str(run.folder))
    wait_until_free(kept)

    with warm(kept, run).open("redis") as redis:
        assert not str(redis.host.address).startswith(str(run.folder))
        redis.ping()


def test_unknown_service_is_named(shared, run):
    with pytest.raises(UnknownName, match="'redi'"), warm(shared, run).open("redi"):
        pass


def test_up_leaves_running_what_down_ends(state, run, capsys):
    command = [sys.executable, "-c", "from labkit.cli import lab_main; lab_main()", "services"]
    up = [*command, "up", "rate-limiter", "--services", "embedded"]
    said = subprocess.run(up, capture_output=True, text=True, check=True).stdout
    assert "services: embedded servers, as asked for" in said
    assert "8 Redis" in said
    kept = read_pool()
    assert kept is not None
    servers = servers_of(kept)
    assert len(servers) == 8
    assert ((state / "services.json").stat().st_mode & 0o777, state.stat().st_mode & 0o777) == (0o600, 0o700)

    chosen = choose_provider("auto", run=run, services=["redis"], tell=print)
    assert isinstance(chosen.provider, Warm)
    assert (
        chosen.reason == f"services: embedded servers that `lab services up` has kept since {kept.up_since}"
    )
    capsys.readouterr()
    assert exit_code(lab, ["services", "status"]) == 0
    shown = capsys.readouterr().out
    assert f"embedded servers, up since {kept.up_since}, process {kept.pid}" in shown
    assert shown.count("free") == 8
    assert "MB to keep them" in shown
    assert exit_code(lab, ["services", "up"]) == 3
    assert "services are up already" in capsys.readouterr().err

    assert exit_code(lab, ["services", "down"]) == 0
    assert "nothing is left of them" in capsys.readouterr().out
    assert [server for server in servers if server.is_running()] == []
    assert (kept.process(), read_pool()) == (None, None)
    assert not Path(kept.socket).parent.exists()


def test_down_does_not_end_what_a_grading_uses_unless_by_force(keep, run, capsys):
    kept = keep({"redis": 1})

    with warm(kept, run).open("redis"):
        assert exit_code(lab, ["services", "down"]) == 3
        said = capsys.readouterr().err
        assert "the services are in use by" in said
        assert f"(process {os.getpid()})" in said
        assert exit_code(lab, ["services", "down", "--force"]) == 0
    assert kept.process() is None


def test_keeper_that_was_killed_leaves_nothing_and_is_noticed(keep, run, capsys):
    kept = keep({"redis": 1})
    servers = servers_of(kept)
    process = kept.process()
    assert process is not None
    process.kill()
    psutil.wait_procs([process], timeout=5)

    chosen = choose_provider("embedded", run=run, services=["redis"], tell=print)
    assert chosen.reason == (
        "services: embedded servers, as asked for;"
        f" those kept since {kept.up_since} are gone, `lab services down` clears up"
    )
    assert not isinstance(chosen.provider, Warm)
    gone, alive = psutil.wait_procs(servers, timeout=5)
    assert (len(gone), alive) == (1, [])
    assert exit_code(lab, ["services", "status"]) == 0
    assert f"process {kept.pid} ended without `lab services down`" in " ".join(
        capsys.readouterr().out.split()
    )
    assert exit_code(lab, ["services", "down"]) == 0
    assert "nothing is left of them now" in capsys.readouterr().out
    assert read_pool() is None


def test_grading_goes_on_without_a_keeper_that_ends_meanwhile(keep, run):
    kept = keep({"redis": 1})
    provider = warm(kept, run)
    process = kept.process()
    process.kill()
    psutil.wait_procs([process], timeout=5)

    with provider.open("redis") as own:
        own.ping()


def test_what_a_reboot_left_is_removed_and_no_process_that_has_the_number_now(tmp_path, state):
    """A process of the keeper's number that started at another time is not it."""
    temp = tmp_path / "temp"
    left = temp / "labkit-0123abcd-postgres-1"
    left.mkdir(parents=True)
    stale = Pool(os.getpid(), 1.0, "0123abcd", str(temp), "embedded", ["redis"], "", "/nowhere", "0.1.0")
    state.mkdir()
    with pool.written(stale):
        assert read_pool() == stale
        assert stale.process() is None

        clear_after(stale)

        assert not left.exists()
        assert read_pool() is None


def test_only_one_keeper_is_started(keep):
    kept = keep({"redis": 1})

    with pytest.raises(engine.ServiceError, match="being started or ended already"):
        launch("embedded", {"redis": 1})

    assert read_pool() == kept


def test_keeper_that_cannot_start_its_services_says_why_and_leaves_nothing():
    with pytest.raises(engine.ServiceError, match="there is no service 'redi'"):
        launch("embedded", {"redis": 1, "redi": 1})

    assert read_pool() is None


@pytest.mark.parametrize(
    "other", [{"kit": "0.0.9"}, {"provider": "containers"}, {"kinds": ["kafka"]}, {"born": 1.0}], ids=str
)
def test_pool_that_is_not_what_a_grading_wants_is_left_alone(keep, run, other):
    kept = keep({"redis": 1})
    assert isinstance(choose_provider("embedded", run=run, services=["redis"], tell=print).provider, Warm)

    (pool.state_folder() / "services.json").write_text(json.dumps(vars(replace(kept, **other))))
    assert not isinstance(choose_provider("embedded", run=run, services=["redis"], tell=print).provider, Warm)

    (pool.state_folder() / "services.json").write_text(json.dumps(vars(kept)))


@pytest.fixture
def no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a trace of Docker."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(choice, "_SOCKET", str(tmp_path / "docker.sock"))
    return tmp_path


def test_absent_engine_is_told_by_a_look(no_engine):
    why = f"there is no Docker engine: {no_engine / 'docker.sock'} does not exist"
    assert engine_is_absent() == why
    assert choose_kind("auto", ["redis"], print) == ("embedded", f"embedded servers, since {why}")


@pytest.mark.parametrize("sign", ["socket", "variable", "context", "properties"])
def test_engine_that_may_be_there_is_asked(no_engine, monkeypatch, sign):
    config = no_engine / ".docker"
    config.mkdir()
    (config / "config.json").write_text("{}")
    assert engine_is_absent() is not None
    if sign == "socket":
        (no_engine / "docker.sock").touch()
    elif sign == "variable":
        monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    elif sign == "context":
        (config / "config.json").write_text('{"currentContext": "colima"}')
    else:
        (no_engine / ".testcontainers.properties").touch()

    assert engine_is_absent() is None


def test_automatic_choice_without_an_engine_imports_no_docker(no_engine):
    script = (
        "import sys\nfrom labkit.services import choice\n"
        f"choice._SOCKET = {str(no_engine / 'docker.sock')!r}\n"
        "print(choice.choose_kind('auto', ['redis'], print)[0])\n"
        "print([name for name in ('docker', 'testcontainers', 'requests') if name in sys.modules])"
    )

    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert said == "embedded\n[]\n"


class Engine:
    """In the place of `docker_status` and of what pulls: an engine without images."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pulled: list[str] = []
        lacking = engine.EngineStatus("Docker 1", "the Docker engine has no image x", "docker pull x", ("x",))
        monkeypatch.setattr(choice, "engine_is_absent", lambda: None)
        monkeypatch.setattr(choice, "_TELL_EVERY_S", 0.0)
        monkeypatch.setattr(engine, "docker_status", lambda _: lacking)
        monkeypatch.setattr(engine, "connect", lambda: self)
        monkeypatch.setattr(engine, "pull", self.pull)

    def pull(self, client: object, name: str, on_progress: engine.OnPull) -> None:
        assert client is self
        for done in (1_000_000, 2_000_000):
            on_progress(engine.PullProgress(name, done, 2_000_000))
        self.pulled.append(name)

    def close(self) -> None:
        pass


def test_containers_that_are_asked_for_pull_before_everybodys_eyes(monkeypatch):
    pulling, told = Engine(monkeypatch), []

    assert choose_kind("containers", ["redis"], told.append) == ("containers", "containers on Docker 1")

    assert pulling.pulled == ["x"]
    assert told == [
        "pulling x, which the Docker engine does not have yet",
        "pulling x: 1 of 2 MB",
        "pulling x: 2 of 2 MB",
        "pulled x",
    ]


def test_automatic_choice_pulls_nothing(monkeypatch):
    pulling, told = Engine(monkeypatch), []

    kind, why = choose_kind("auto", ["redis"], told.append)

    assert (kind, why) == ("embedded", "embedded servers, since the Docker engine has no image x")
    assert (pulling.pulled, told) == ([], [])


def test_containers_without_an_engine_are_refused(no_engine, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{no_engine}/none")

    with pytest.raises(engine.ServiceError, match="there is no Docker engine"):
        choose_kind("containers", ["redis"], print)


@pytest.mark.docker
def test_containers_are_lent_faulted_renewed_and_removed(keep, run):
    kept = keep({"redis": 1}, "containers")
    client = engine.connect()
    assert len(labelled(client, kept.run)) == 1
    with warm(kept, run).open("redis") as redis:
        first = identity(redis)
        redis.client().set("left", "1")
    wait_until_free(kept, 30)
    with warm(kept, run).open("redis") as redis:
        assert (identity(redis), redis.client().dbsize()) == (first, 0)
        redis.host.stop()
        redis.host.start(empty=True)
    wait_until_free(kept, 30)
    assert len(labelled(client, kept.run)) == 1
    (server,) = asked(kept, want="status")["servers"]
    assert server["memory"] > 1_000_000

    assert exit_code(lab, ["services", "down"]) == 0

    assert labelled(client, kept.run) == []
    client.close()


@pytest.mark.docker
def test_container_of_another_image_is_not_lent(keep, run, monkeypatch):
    kept = keep({"redis": 1}, "containers")
    provider = warm(kept, run)
    monkeypatch.setenv("LABKIT_IMAGE_REDIS", "registry.invalid/redis:1")

    with pytest.raises(engine.ServiceError, match=r"no image registry\.invalid"), provider.open("redis"):
        pass


def labelled(client: docker.DockerClient, run: str) -> list[Any]:
    return client.containers.list(all=True, filters={"label": f"labkit.run={run}"}, ignore_removed=True)
