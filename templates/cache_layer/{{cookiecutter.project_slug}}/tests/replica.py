"""The service as a platform runs it: processes of its own, spoken to over HTTP alone.

Tests that know nothing of the inside hold for any design of the cache, and survive its rewriting.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

ROOT = Path(__file__).resolve().parent.parent
START_DEADLINE_S = 15
STOP_DEADLINE_S = 8
ANSWER_DEADLINE_S = 5


class Replica:
    """One process of the service, from `with` to its end."""

    def __init__(
        self, *, instance: str, redis_url: str, database_url: str, ttl_s: int, negative_ttl_s: int
    ) -> None:
        port = _free_port()
        self.instance = instance
        self._base = f"http://127.0.0.1:{port}"
        self._environment = {
            **os.environ,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "INSTANCE": instance,
            "REDIS_URL": redis_url,
            "DATABASE_URL": database_url,
            "CACHE_TTL_SECONDS": str(ttl_s),
            "CACHE_NEGATIVE_TTL_SECONDS": str(negative_ttl_s),
        }

    def __enter__(self) -> Replica:
        command = [sys.executable, "-m", "app"]
        self._process = subprocess.Popen(command, cwd=ROOT, env=self._environment)
        try:
            self._wait_healthy()
        except BaseException:
            self._process.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()

    def get(self, path: str) -> requests.Response:
        return self._ask("GET", path)

    def put(self, path: str, product: Mapping[str, Any]) -> requests.Response:
        return self._ask("PUT", path, json=product)

    def put_raw(self, path: str, body: bytes) -> requests.Response:
        """Send a body that may be anything."""
        return self._ask("PUT", path, data=body)

    def delete(self, path: str) -> requests.Response:
        return self._ask("DELETE", path)

    def stop(self) -> int:
        """Send SIGTERM; the exit code. Raises TimeoutExpired if it takes longer than it may."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(STOP_DEADLINE_S)

    def _ask(self, method: str, path: str, **content: Any) -> requests.Response:
        return requests.request(method, self._base + path, timeout=ANSWER_DEADLINE_S, **content)

    def _wait_healthy(self) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline:
            assert self._process.poll() is None, f"{self.instance} ended by itself; see its output"
            try:
                if self.get("/healthz").ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.05)
        raise AssertionError(f"{self.instance} was not healthy within {START_DEADLINE_S} s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
