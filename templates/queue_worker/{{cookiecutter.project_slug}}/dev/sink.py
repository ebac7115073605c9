"""A sink to deliver to, which prints what comes: `make sink`. The tests have one of their own kind.

It answers as a job's payload tells it: {"answers": [503, 503, 200]} is refused twice and then taken, the
last answer standing for all that follow; {"wait_s": 1} is answered a second late. Anything else is taken.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Delivery:
    """What came, when (time.monotonic), and what it was answered."""

    at: float
    job_id: str
    key: str
    attempt: int
    payload: dict[str, Any]
    idempotency_key: str | None
    answer: int


class Sink:
    """A sink on a port of its own from `with` to its end; `deliveries` are in the order they came."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, aloud: bool = False) -> None:
        self.deliveries: list[Delivery] = []
        self._aloud = aloud
        self._server = ThreadingHTTPServer((host, port), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/deliveries"

    def __enter__(self) -> Sink:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def taken(self, job_id: str) -> list[Delivery]:
        """The deliveries of a job that were answered by a 2xx."""
        return [one for one in self.of(job_id) if 200 <= one.answer < 300]

    def of(self, job_id: str) -> list[Delivery]:
        """All deliveries of a job."""
        return [one for one in list(self.deliveries) if one.job_id == job_id]

    def take(self, body: bytes, idempotency_key: str | None) -> int:
        """Note a delivery; the status to answer, when its wait is over."""
        at, sent = time.monotonic(), json.loads(body)
        answers = sent["payload"].get("answers") or [200]
        answer = int(answers[min(sent["attempt"], len(answers)) - 1])
        delivery = Delivery(
            at, sent["job_id"], sent["key"], sent["attempt"], sent["payload"], idempotency_key, answer
        )
        self.deliveries.append(delivery)
        if self._aloud:
            print(f"{answer} {body.decode()}", flush=True)
        time.sleep(float(sent["payload"].get("wait_s", 0)))
        return answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(sink.take(body, self.headers.get("Idempotency-Key")))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                """What came is printed once, by the sink."""

        return Handler


def main() -> None:
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "9000"))
    with Sink(host, port, aloud=True) as sink:
        print(f"deliveries go to {sink.url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
