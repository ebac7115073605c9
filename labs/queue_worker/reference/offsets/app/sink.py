"""The sink: one delivery, and what its answer means."""

from __future__ import annotations

import re
from dataclasses import dataclass

import aiohttp

from app.jobs import Job

TIMEOUT_S = 2.0
# No header can carry them, any id can.
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Answer:
    """error: what was wrong, or None for a success; final: no retry would help."""

    error: str | None = None
    final: bool = False


class Sink:
    """Takes deliveries, each on a connection of its own: one that was kept may be dead, to nobody's fault."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url

    async def deliver(self, job: Job, *, attempt: int) -> Answer:
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": CONTROL.sub(lambda control: f"%{ord(control[0]):02X}", job.id),
        }
        try:
            async with self._http.post(
                self._url, data=job.delivery(attempt), headers=headers, allow_redirects=False
            ) as answer:
                return _meaning(answer.status)
        except TimeoutError:
            return Answer(f"the sink did not answer within {TIMEOUT_S:g} s")
        except aiohttp.ClientError as error:
            return Answer(f"no answer from the sink: {type(error).__name__}: {error}")


def connect() -> aiohttp.ClientSession:
    """Without a limit of its own to connections: how many deliveries run is the workers' affair."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
    )


def _meaning(status: int) -> Answer:
    if 200 <= status < 300:
        return Answer()
    return Answer(f"the sink answered {status}", final=400 <= status < 500)
