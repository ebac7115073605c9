"""What the environment decides."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """One process's configuration.

    limit      requests of one client admitted per window, at least 1
    window_ms  the window's length in milliseconds, at least 500
    instance   the name of this process, echoed in answers
    """

    host: str
    port: int
    instance: str
    redis_url: str
    limit: int
    window_ms: int

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Raises KeyError for a missing variable and ValueError for one out of range."""
        return cls(
            host=env["HOST"],
            port=int(env["PORT"]),
            instance=env["INSTANCE"],
            redis_url=env["REDIS_URL"],
            limit=_at_least(1, env, "RATE_LIMIT"),
            window_ms=_at_least(500, env, "RATE_WINDOW_MS"),
        )


def _at_least(smallest: int, env: Mapping[str, str], name: str) -> int:
    value = int(env[name])
    if value < smallest:
        raise ValueError(f"{name} is {value}, it must be at least {smallest}")
    return value
