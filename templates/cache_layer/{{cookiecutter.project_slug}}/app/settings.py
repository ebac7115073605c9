"""What the environment says: all of the service's configuration, read once at the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

REQUIRED = (
    "HOST",
    "PORT",
    "INSTANCE",
    "REDIS_URL",
    "DATABASE_URL",
    "CACHE_TTL_SECONDS",
    "CACHE_NEGATIVE_TTL_SECONDS",
)


@dataclass(frozen=True)
class Settings:
    """host, port      where this replica listens
    instance        its name, unique among the replicas
    redis_url       redis://host:port/0, shared by all replicas
    database_url    postgresql://user:password@host:port/name, shared by all replicas
    ttl_s           the longest life of a cached product, in seconds ...
    negative_ttl_s  ... and of the knowledge that there is no such product
    """

    host: str
    port: int
    instance: str
    redis_url: str
    database_url: str
    ttl_s: int
    negative_ttl_s: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Raises ValueError naming every variable that is missing, or the one that is no number."""
        missing = [name for name in REQUIRED if not environment.get(name)]
        if missing:
            raise ValueError(f"not set in the environment: {', '.join(missing)}")
        return cls(
            host=environment["HOST"],
            port=_integer(environment, "PORT", least=0),
            instance=environment["INSTANCE"],
            redis_url=environment["REDIS_URL"],
            database_url=environment["DATABASE_URL"],
            ttl_s=_integer(environment, "CACHE_TTL_SECONDS", least=1),
            negative_ttl_s=_integer(environment, "CACHE_NEGATIVE_TTL_SECONDS", least=1),
        )


def _integer(environment: Mapping[str, str], name: str, *, least: int) -> int:
    text = environment[name]
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise ValueError(f"{name} is {text!r}; it has to be an integer of at least {least}")
    return int(text)
