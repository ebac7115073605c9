"""What the environment says: all of the service's configuration, read once at the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

REQUIRED = (
    "HOST",
    "PORT",
    "INSTANCE",
    "DATABASE_URL",
    "KAFKA_BOOTSTRAP_SERVERS",
    "PSP_URL",
    "EVENTS_TOPIC",
    "IDEMPOTENCY_LOCK_SECONDS",
)


@dataclass(frozen=True)
class Settings:
    """host, port      where this replica listens
    instance        its name, unique among the replicas
    database_url    postgresql://user:password@host:port/name, shared by all replicas
    kafka           host:port of a broker, shared by all replicas
    psp_url         base address of the payment provider
    events_topic    where successes are announced; the topic exists
    lock_s          how long a key may stay "in progress" after its process died, in seconds
    """

    host: str
    port: int
    instance: str
    database_url: str
    kafka: str
    psp_url: str
    events_topic: str
    lock_s: int

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
            database_url=environment["DATABASE_URL"],
            kafka=environment["KAFKA_BOOTSTRAP_SERVERS"],
            psp_url=environment["PSP_URL"].rstrip("/"),
            events_topic=environment["EVENTS_TOPIC"],
            lock_s=_integer(environment, "IDEMPOTENCY_LOCK_SECONDS", least=1),
        )


def _integer(environment: Mapping[str, str], name: str, *, least: int) -> int:
    text = environment[name]
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise ValueError(f"{name} is {text!r}; it has to be an integer of at least {least}")
    return int(text)
