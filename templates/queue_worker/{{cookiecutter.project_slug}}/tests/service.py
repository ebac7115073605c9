"""The service as a platform runs it: processes of its own, met at HTTP, at Kafka and at the sink alone.

Tests that know nothing of the inside hold for any design of the worker, and survive its rewriting.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import requests

ROOT = Path(__file__).resolve().parent.parent
START_DEADLINE_S = 15
STOP_DEADLINE_S = 8
ANSWER_DEADLINE_S = 5

Answer = TypeVar("Answer")


class Process:
    """One process of the service, from `with` to its end."""

    role: str

    def __init__(self, *, instance: str, settings: Mapping[str, str]) -> None:
        self.instance = instance
        self._environment = {**os.environ, **settings, "INSTANCE": instance}

    def __enter__(self) -> Process:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, again if it has ended."""
        command = [sys.executable, "-m", "app", self.role]
        self._process = subprocess.Popen(command, cwd=ROOT, env=self._environment)

    def stop(self) -> int:
        """Send SIGTERM; the exit code. Raises TimeoutExpired if it takes longer than it may."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(STOP_DEADLINE_S)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None


class Worker(Process):
    """It listens nowhere: what it does is seen at the sink."""

    role = "worker"


class Web(Process):
    """It is healthy when `with` lets the test go on."""

    role = "web"

    def __init__(self, *, instance: str, settings: Mapping[str, str]) -> None:
        port = _free_port()
        self._base = f"http://127.0.0.1:{port}"
        address = {"HOST": "127.0.0.1", "PORT": str(port)}
        super().__init__(instance=instance, settings={**settings, **address})

    def start(self) -> None:
        super().start()
        try:
            self._wait_healthy()
        except BaseException:
            self.kill()
            raise

    def get(self, path: str) -> requests.Response:
        return requests.get(self._base + path, timeout=ANSWER_DEADLINE_S)

    def post(self, path: str, body: bytes) -> requests.Response:
        """Send a body that may be anything."""
        return requests.post(self._base + path, data=body, timeout=ANSWER_DEADLINE_S)

    def submit(self, key: str, payload: Mapping[str, Any] | None = None) -> str:
        """Hand in a job that has to be taken; its id."""
        body = {"key": key, "payload": payload or {}}
        answer = requests.post(self._base + "/jobs", json=body, timeout=ANSWER_DEADLINE_S)
        assert answer.status_code == 202, f"{answer.status_code} {answer.text}"
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """What GET /jobs/{id} says; an id is any string, so it is spelt for a path."""
        return dict(self.get(f"/jobs/{quote(job_id, safe='')}").json())

    def _wait_healthy(self) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline:
            assert not self.ended, f"{self.instance} ended by itself; see its output"
            try:
                if self.get("/healthz").ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.05)
        raise AssertionError(f"{self.instance} was not healthy within {START_DEADLINE_S} s")


def migrate(settings: Mapping[str, str]) -> None:
    """Run the role that makes tables, to its end, if lab.toml has one."""
    roles = tomllib.loads((ROOT / "lab.toml").read_text(encoding="utf-8"))["processes"]
    if "migrate" in roles:
        command = [sys.executable, "-m", "app", "migrate"]
        environment = {**os.environ, **settings, "INSTANCE": "migrate-1"}
        subprocess.run(command, cwd=ROOT, env=environment, check=True)


def eventually(look: Callable[[], Answer], expected: Answer, *, within_s: float = 10) -> None:
    """Look again and again until what is seen is as expected."""
    deadline = time.monotonic() + within_s
    while (seen := look()) != expected:
        assert time.monotonic() < deadline, f"after {within_s} s still {seen!r}, not {expected!r}"
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
