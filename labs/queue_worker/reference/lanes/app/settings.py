"""What the environment decides."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """One process's configuration.

    backoff_s  the wait between the first and the second attempt, in seconds; doubled for each that follows
    """

    kafka: str
    database_url: str
    topic: str
    dead_letter_topic: str
    group: str
    sink_url: str
    max_attempts: int
    backoff_s: float
    concurrency: int
    session_timeout_ms: int
    host: str
    port: int

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Raises KeyError for a missing variable and ValueError for one out of range."""
        return cls(
            kafka=env["KAFKA_BOOTSTRAP_SERVERS"],
            database_url=env["DATABASE_URL"],
            topic=env["JOBS_TOPIC"],
            dead_letter_topic=env["JOBS_DLQ_TOPIC"],
            group=env["JOBS_GROUP"],
            sink_url=env["SINK_URL"],
            max_attempts=_at_least(1, env, "MAX_ATTEMPTS"),
            backoff_s=_at_least(0, env, "BACKOFF_MS") / 1000,
            concurrency=_at_least(1, env, "WORKER_CONCURRENCY"),
            session_timeout_ms=_at_least(1, env, "SESSION_TIMEOUT_MS"),
            host=env.get("HOST", "127.0.0.1"),
            port=int(env.get("PORT", "8080")),
        )


def _at_least(smallest: int, env: Mapping[str, str], name: str) -> int:
    value = int(env[name])
    if value < smallest:
        raise ValueError(f"{name} is {value}, it must be at least {smallest}")
    return value
