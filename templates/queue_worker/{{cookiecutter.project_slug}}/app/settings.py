"""What the environment says: all of the service's configuration, read once at the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

REQUIRED = (
    "HOST",
    "PORT",
    "INSTANCE",
    "KAFKA_BOOTSTRAP_SERVERS",
    "DATABASE_URL",
    "JOBS_TOPIC",
    "JOBS_DLQ_TOPIC",
    "JOBS_GROUP",
    "SINK_URL",
    "MAX_ATTEMPTS",
    "BACKOFF_MS",
    "WORKER_CONCURRENCY",
    "SESSION_TIMEOUT_MS",
)
# A worker listens nowhere, and may be told nowhere to.
ONLY_WEB = {"HOST": "127.0.0.1", "PORT": "0"}


@dataclass(frozen=True)
class Settings:
    """host, port          where a web process listens
    instance            the process's name, unique among all
    kafka               host:port to begin at
    database_url        postgresql://user:password@host:port/name
    jobs_topic          where jobs are ...
    dlq_topic           ... and where the dead ones go; both exist, with equally many partitions
    group               the workers' consumer group
    sink_url            where each job is delivered
    max_attempts        deliveries tried before a job is dead
    backoff_ms          the wait after the first of them; it doubles with each
    concurrency         deliveries that one worker runs side by side
    session_timeout_ms  silence after which Kafka takes a worker for dead
    """

    host: str
    port: int
    instance: str
    kafka: str
    database_url: str
    jobs_topic: str
    dlq_topic: str
    group: str
    sink_url: str
    max_attempts: int
    backoff_ms: int
    concurrency: int
    session_timeout_ms: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Raises ValueError naming every variable that is missing, or the one that is no number."""
        told = {**ONLY_WEB, **{name: value for name, value in environment.items() if value}}
        missing = [name for name in REQUIRED if name not in told]
        if missing:
            raise ValueError(f"not set in the environment: {', '.join(missing)}")
        return cls(
            host=told["HOST"],
            port=_integer(told, "PORT", least=0),
            instance=told["INSTANCE"],
            kafka=told["KAFKA_BOOTSTRAP_SERVERS"],
            database_url=told["DATABASE_URL"],
            jobs_topic=told["JOBS_TOPIC"],
            dlq_topic=told["JOBS_DLQ_TOPIC"],
            group=told["JOBS_GROUP"],
            sink_url=told["SINK_URL"],
            max_attempts=_integer(told, "MAX_ATTEMPTS", least=1),
            backoff_ms=_integer(told, "BACKOFF_MS", least=1),
            concurrency=_integer(told, "WORKER_CONCURRENCY", least=1),
            session_timeout_ms=_integer(told, "SESSION_TIMEOUT_MS", least=1),
        )


def _integer(environment: Mapping[str, str], name: str, *, least: int) -> int:
    text = environment[name]
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise ValueError(f"{name} is {text!r}; it has to be an integer of at least {least}")
    return int(text)
