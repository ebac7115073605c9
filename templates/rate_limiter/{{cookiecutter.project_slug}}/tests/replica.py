"""The service as a platform runs it: processes of its own, spoken to over HTTP alone.

Tests that know nothing of the inside hold for any design of the limiter, and survive its rewriting.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import requests

ROOT = Path(__file__).resolve().parent.parent
START_DEADLINE_S = 15
STOP_DEADLINE_S = 8
ANSWER_DEADLINE_S = 5


class Replica:
    """One process of the service, from `with` to its end."""

    def __init__(self, *, instance: str, redis_url: str, limit: int, window_ms: int) -> None:
        port = _free_port()
        self.instance = instance
        self._base = f"http://127.0.0.1:{port}"
        self._environment = {
            **os.environ,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "INSTANCE": instance,
            "REDIS_URL": redis_url,
            "RATE_LIMIT": str(limit),
            "RATE_WINDOW_MS": str(window_ms),
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

    def get(self, path: str, *, client: str | None = None) -> requests.Response:
        """Ask for a path, as the client whose X-Api-Key is given."""
        headers = {} if client is None else {"X-Api-Key": client}
        return requests.get(self._base + path, headers=headers, timeout=ANSWER_DEADLINE_S)

    def stop(self) -> int:
        """Send SIGTERM; the exit code. Raises TimeoutExpired if it takes longer than it may."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(STOP_DEADLINE_S)

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
