"""What the environment decides."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class WebSettings:
    """Configuration of a process that serves requests.

    lock_s  how long a key may stay in progress after its process died, in seconds, above 0
    """

    host: str
    port: int
    database_url: str
    psp_url: str
    lock_s: float

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> WebSettings:
        """Raises KeyError for a missing variable and ValueError for one out of range."""
        lock_s = float(env["IDEMPOTENCY_LOCK_SECONDS"])
        if not lock_s > 0:
            raise ValueError(f"IDEMPOTENCY_LOCK_SECONDS is {lock_s}, it must be above 0")
        return cls(
            host=env["HOST"],
            port=int(env["PORT"]),
            database_url=env["DATABASE_URL"],
            psp_url=env["PSP_URL"].rstrip("/"),
            lock_s=lock_s,
        )


@dataclass(frozen=True)
class RelaySettings:
    """Configuration of a process that publishes events."""

    database_url: str
    bootstrap_servers: str
    topic: str

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> RelaySettings:
        """Raises KeyError for a missing variable."""
        return cls(env["DATABASE_URL"], env["KAFKA_BOOTSTRAP_SERVERS"], env["EVENTS_TOPIC"])
