"""The provider over HTTP. How it behaves is up to the payment's `source`:

    declined…     402
    slow…         takes 3 s, then answers as it should
    unavailable…  503 the first time, with nothing done
    cut…          the first time it does its work and cuts the connection
    anything else is charged, and refunds are given back, at once

A refund goes the way of its charge. `GET /ledger` shows what was done.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from provider.ledger import Answer, Ledger

SLOW_S = 3.0


class Provider(ThreadingHTTPServer):
    """The server and its `ledger`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, _Handler)
        self.ledger = Ledger()
        self._answering = threading.Event()
        self._answering.set()
        self._calls: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Hold all answers meanwhile. What they tell of is done already."""
        self._answering.clear()
        try:
            yield
        finally:
            self._answering.set()

    def wait_to_answer(self) -> None:
        """Wait while answers are held."""
        self._answering.wait()

    def first(self, path: str, key: str) -> bool:
        """Whether no call with this key has come before."""
        with self._lock:
            self._calls[path, key] += 1
            return self._calls[path, key] == 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that hangs up is what tests are made of."""


def serve(host: str, port: int) -> Provider:
    """A provider that listens; `serve_forever` on it answers."""
    return Provider((host, port))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are two writes; the second is not to wait for the first one's receipt.
    disable_nagle_algorithm = True
    server: Provider

    def do_GET(self) -> None:
        ledger = self.server.ledger
        if self.path != "/ledger":
            return self._send(Answer(404))
        charges = [asdict(charge) for charge in ledger.charges]
        self._send(Answer(200, {"charges": charges, "refunds": ledger.refunds}))

    def do_POST(self) -> None:
        wanted = self._body()
        key = self.headers.get("Idempotency-Key", "")
        if self.path not in ("/charges", "/refunds"):
            return self._send(Answer(404))
        if not key or not _is_whole(self.path, wanted):
            return self._send(Answer(400))
        self._misbehave(key, wanted)

    def _misbehave(self, key: str, wanted: dict[str, Any]) -> None:
        ledger, first = self.server.ledger, self.server.first(self.path, key)
        charging = self.path == "/charges"
        source = wanted["source"] if charging else ledger.source_of(wanted["charge_id"])
        if source.startswith("unavailable") and first:
            return self._send(Answer(503))
        if source.startswith("slow"):
            time.sleep(SLOW_S)
        answer = ledger.charge(key, wanted) if charging else ledger.refund(key, wanted)
        self.server.wait_to_answer()
        if source.startswith("cut") and first:
            self.close_connection = True
            return None
        return self._send(answer)

    def _body(self) -> Any:
        try:
            return json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        except ValueError:
            return None

    def _send(self, answer: Answer) -> None:
        body = json.dumps(answer.body).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, template: str, *values: object) -> None:
        """Nothing: what was done is told by the ledger."""


def _is_whole(path: str, wanted: Any) -> bool:
    words = ("currency", "source") if path == "/charges" else ("charge_id",)
    return (
        isinstance(wanted, dict)
        and isinstance(wanted.get("amount_cents"), int)
        and all(isinstance(wanted.get(name), str) for name in words)
    )
