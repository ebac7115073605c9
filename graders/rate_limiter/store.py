"""What the limiter keeps in Redis, seen past every link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit import EvidenceRow

if TYPE_CHECKING:
    from .bench import Bench


def redis_of(bench: Bench) -> Any:
    """The grader's own client, past every link."""
    return bench.arena.services["redis"].client()  # type: ignore[attr-defined]


def keys(bench: Bench) -> set[str]:
    """All keys in Redis."""
    with redis_of(bench) as redis:
        return {key.decode("utf-8", "replace") for key in redis.scan_iter(count=1000)}


def times_to_live(bench: Bench) -> dict[str, int]:
    """Key -> milliseconds to live, -1 for ever; only what a second look confirms is -1."""
    found = _ttls(bench)
    if -1 in found.values():
        bench.arena.sleep(0.1)  # a replica may be between writing a key and giving it its time
        again = _ttls(bench)
        found = {key: again.get(key, -2) if ttl == -1 else ttl for key, ttl in found.items()}
    return {key: ttl for key, ttl in found.items() if ttl != -2}


def _ttls(bench: Bench) -> dict[str, int]:
    with redis_of(bench) as redis:
        return {key.decode("utf-8", "replace"): redis.pttl(key) for key in redis.scan_iter(count=1000)}


def keys_in_redis(bench: Bench) -> list[EvidenceRow]:
    """What lies in Redis now, key by key."""
    with redis_of(bench) as redis:
        keys = sorted(redis.scan_iter(count=1000))[:10]
        now = round(bench.arena.clock(), 3)
        return [
            EvidenceRow(
                now,
                "redis",
                key.decode("utf-8", "replace"),
                f"{redis.type(key).decode()}, PTTL {redis.pttl(key)}",
            )
            for key in keys
        ]
