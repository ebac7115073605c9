"""The sink: one delivery, and what its answer means."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass
from enum import Enum
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from app.jobs import Job

TIMEOUT_S = 2.0
# No header can carry them, any id can.
CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


class Verdict(Enum):
    DONE = "done"
    REFUSED = "refused"  # no retry would help
    FAILED = "failed"
    UNSENT = "unsent"


@dataclass(frozen=True)
class Answer:
    verdict: Verdict
    error: str = ""


class Sink:
    """Takes deliveries, each on a connection of its own: one that was kept may be dead, to nobody's fault."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._path = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")

    def deliver(self, job: Job, *, attempt: int, send_by: float) -> Answer:
        """One attempt, given up before anything is sent if `time.monotonic()` has passed `send_by`."""
        ends_at = time.monotonic() + TIMEOUT_S
        line = HTTPConnection(self._url.hostname or "", self._url.port or 80, timeout=TIMEOUT_S)
        try:
            line.connect()
            if time.monotonic() > send_by:
                return Answer(Verdict.UNSENT)
            self._send(line, job, attempt=attempt)
            line.sock.settimeout(max(ends_at - time.monotonic(), 0.001))
            return _meaning(line.getresponse().status)
        except TimeoutError:
            return Answer(Verdict.FAILED, f"the sink did not answer within {TIMEOUT_S:g} s")
        except (OSError, HTTPException) as error:
            return Answer(Verdict.FAILED, f"no answer from the sink: {type(error).__name__}: {error}")
        finally:
            line.close()

    def _send(self, line: HTTPConnection, job: Job, *, attempt: int) -> None:
        line.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.putrequest("POST", self._path)
        body = job.delivery(attempt)
        line.putheader("Content-Type", "application/json")
        line.putheader("Content-Length", str(len(body)))
        line.putheader("Idempotency-Key", CONTROL.sub(_escaped, job.id.encode()))
        line.endheaders(body)


def _escaped(control: re.Match[bytes]) -> bytes:
    return b"%%%02X" % control[0][0]


def _meaning(status: int) -> Answer:
    if 200 <= status < 300:
        return Answer(Verdict.DONE)
    refused = 400 <= status < 500
    return Answer(Verdict.REFUSED if refused else Verdict.FAILED, f"the sink answered {status}")
