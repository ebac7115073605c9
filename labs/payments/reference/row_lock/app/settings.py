"""What the environment decides."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """One process's configuration.

    lock_s  how long a key may stay in progress after its process died, in seconds, above 0
    """

    host: str
    port: int
    database_url: str
    bootstrap_servers: str
    topic: str
    psp_url: str
    lock_s: float

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Raises KeyError for a missing variable and ValueError for one out of range."""
        lock_s = float(env["IDEMPOTENCY_LOCK_SECONDS"])
        if not lock_s > 0:
            raise ValueError(f"IDEMPOTENCY_LOCK_SECONDS is {lock_s}, it must be above 0")
        return cls(
            host=env["HOST"],
            port=int(env["PORT"]),
            database_url=env["DATABASE_URL"],
            bootstrap_servers=env["KAFKA_BOOTSTRAP_SERVERS"],
            topic=env["EVENTS_TOPIC"],
            psp_url=env["PSP_URL"],
            lock_s=lock_s,
        )
