"""What the service keeps in Redis, seen past every link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit import EvidenceRow

if TYPE_CHECKING:
    from .bench import Bench
    from .stock import Product

# Shorter ones are marks and counters, not entries.
SHORTEST_ENTRY = 20
# What only an entry of a long product is, compressed or not.
LONG_ENTRY = 200


def redis_of(bench: Bench) -> Any:
    """The grader's own client, past every link."""
    return bench.arena.services["redis"].client()  # type: ignore[attr-defined]


def times_to_live(bench: Bench) -> dict[str, int]:
    """Key -> milliseconds to live, -1 for ever; only what a second look confirms is -1."""
    found = _times(bench)
    if -1 in found.values():
        bench.arena.sleep(0.1)  # a replica may be between writing a key and giving it its time
        again = _times(bench)
        found = {key: again.get(key, -2) if time == -1 else time for key, time in found.items()}
    return {key: time for key, time in found.items() if time != -2}


def entry_rows(bench: Bench) -> list[EvidenceRow]:
    """What lies in Redis now, key by key."""
    now = round(bench.arena.clock(), 3)
    return [
        EvidenceRow(now, "redis", key, f"PTTL {time}") for key, time in sorted(_times(bench).items())[:10]
    ]


def replace_entries(bench: Bench, product: Product) -> int:
    """Put a list in the place of every key that is long enough for `product`'s entry; how many there were.

    No guard, lock or generation is that long, if the product is.
    """
    count = 0
    with redis_of(bench) as redis:
        for key in redis.scan_iter(count=1000, _type="STRING"):
            if redis.strlen(key) >= LONG_ENTRY:
                time_ms = redis.pttl(key)
                redis.delete(key)
                redis.rpush(key, "an entry of another program, in another type", product.name)
                redis.pexpire(key, max(time_ms, 1))
                count += 1
    bench.arena.tell("redis", f"{count} entries replaced by lists")
    return count


def spoil_entries(bench: Bench, rubbish: bytes) -> int:
    """Overwrite every string in Redis that is long enough for an entry; how many there were."""
    count = 0
    with redis_of(bench) as redis:
        for key in redis.scan_iter(count=1000, _type="STRING"):
            if redis.strlen(key) >= SHORTEST_ENTRY:
                redis.set(key, rubbish or redis.getrange(key, 0, SHORTEST_ENTRY // 2), keepttl=True)
                count += 1
    bench.arena.tell("redis", f"{count} entries overwritten")
    return count


def _times(bench: Bench) -> dict[str, int]:
    with redis_of(bench) as redis:
        return {key.decode("utf-8", "replace"): redis.pttl(key) for key in redis.scan_iter(count=1000)}
