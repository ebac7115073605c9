"""The service as a platform runs it: processes of its own, spoken to over HTTP alone.

Tests that know nothing of the inside hold for any design, and survive its rewriting.
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
ANSWER_DEADLINE_S = 10


class Replica:
    """One process of the service, from `with` to its end; `settings` are its environment."""

    def __init__(self, *, instance: str, settings: Mapping[str, str]) -> None:
        port = free_port()
        self.instance = instance
        self._base = f"http://127.0.0.1:{port}"
        self._environment = {
            **os.environ,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "INSTANCE": instance,
            **settings,
        }

    def __enter__(self) -> Replica:
        self._process = self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def get(self, path: str, *, merchant: str | None = "shop") -> requests.Response:
        return self._ask("GET", path, merchant, {})

    def post(
        self, path: str, body: Any, *, key: str | None, merchant: str | None = "shop"
    ) -> requests.Response:
        """POST `body` as JSON; bytes are sent as they are."""
        headers = {} if key is None else {"Idempotency-Key": key}
        content = {"data": body} if isinstance(body, bytes) else {"json": body}
        return self._ask("POST", path, merchant, headers, **content)

    def kill(self) -> None:
        """As a power cut: nothing is finished, nothing is said."""
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Start it again, at the same address."""
        self._process = self._start()

    def stop(self) -> int:
        """Send SIGTERM; the exit code. Raises TimeoutExpired if it takes longer than it may."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(STOP_DEADLINE_S)

    def _ask(
        self, method: str, path: str, merchant: str | None, headers: dict[str, str], **content: Any
    ) -> requests.Response:
        if merchant is not None:
            headers["X-Merchant-Id"] = merchant
        return requests.request(
            method, self._base + path, headers=headers, timeout=ANSWER_DEADLINE_S, **content
        )

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-m", "app"], cwd=ROOT, env=self._environment)
        try:
            self._wait_healthy(process)
        except BaseException:
            process.kill()
            raise
        return process

    def _wait_healthy(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline:
            assert process.poll() is None, f"{self.instance} ended by itself; see its output"
            try:
                if self.get("/healthz").ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.05)
        raise AssertionError(f"{self.instance} was not healthy within {START_DEADLINE_S} s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
