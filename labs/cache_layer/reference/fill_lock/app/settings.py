"""What the environment decides."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """One process's configuration.

    ttl_s           the longest life of a cached product, in seconds, at least 1
    negative_ttl_s  the longest life of a cached "there is no such product", in seconds, at least 1
    """

    host: str
    port: int
    redis_url: str
    database_url: str
    ttl_s: int
    negative_ttl_s: int

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Raises KeyError for a missing variable and ValueError for one out of range."""
        return cls(
            host=env["HOST"],
            port=int(env["PORT"]),
            redis_url=env["REDIS_URL"],
            database_url=env["DATABASE_URL"],
            ttl_s=_at_least(1, env, "CACHE_TTL_SECONDS"),
            negative_ttl_s=_at_least(1, env, "CACHE_NEGATIVE_TTL_SECONDS"),
        )


def _at_least(smallest: int, env: Mapping[str, str], name: str) -> int:
    value = int(env[name])
    if value < smallest:
        raise ValueError(f"{name} is {value}, it must be at least {smallest}")
    return value
