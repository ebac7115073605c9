"""Redis: entries, generations, locks, and one exception for "it cannot be asked"."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from redis import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError, WatchError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from app.entries import Entry, pack, unpack

logger = logging.getLogger(__name__)

T = TypeVar("T")
TIMEOUT_S = 0.5
# A thread that waits for a silent Redis serves nobody: after a timeout no read asks for this long.
REST_S = 0.5
# Longer than most loads take, and short enough that a dead owner soon is none.
LOCK_MS = 1500
# Renewed by whoever begins a load, which it must outlast.
GENERATION_MS = 10_000


class CacheUnavailable(Exception):
    """Redis refused, or was silent for too long."""


@dataclass(frozen=True)
class Opening:
    """A place that may be filled. generation: while it stands; at_ms: Redis' time when it was seen."""

    generation: bytes
    at_ms: int


@dataclass(frozen=True)
class Claim:
    """entry: what has been filled meanwhile, or None; granted: the lock is the caller's."""

    entry: Entry | None
    granted: bool


def connect(url: str, *, connections: int) -> Redis:
    """A client that connects at the first command; `connections` is the number of threads it serves.

    A command is tried again once, at once and on a new connection, when the one it was sent on
    turns out to be dead: that is how the first request after a restart of Redis gets its answer.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=TIMEOUT_S,
        protocol=2,
        driver_info=None,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), retries=1, supported_errors=(RedisConnectionError,)),
    )
    return Redis.from_pool(pool)


class Cache:
    """Products by id, each with a time to live; every method but `forget` raises CacheUnavailable."""

    def __init__(self, redis: Redis, *, ttl_s: int, negative_ttl_s: int) -> None:
        self._redis = redis
        self._ttl_ms = ttl_s * 1000
        self._negative_ttl_ms = negative_ttl_s * 1000
        self._resting_until = 0.0
        self._reachable = True

    def find(self, product_id: int) -> Entry | None:
        return unpack(self._ask(lambda: self._get(_entry(product_id))))

    def find_all(self, product_ids: Sequence[int]) -> dict[int, Entry]:
        """The entries that there are, in one round trip."""
        keys = [_entry(product_id) for product_id in product_ids]
        replies: list[Any] = self._ask(lambda: self._redis.mget(keys))
        entries = map(unpack, replies)
        return {id_: entry for id_, entry in zip(product_ids, entries, strict=True) if entry}

    def open(self, product_id: int) -> Opening:
        """Begin to fill a place: the generation that it is in, which lasts for some time from now."""
        token, key = secrets.token_hex(8).encode(), _generation(product_id)

        def renew() -> Opening:
            with self._redis.pipeline(transaction=False) as steps:
                steps.set(key, token, nx=True, get=True, px=GENERATION_MS)
                steps.pexpire(key, GENERATION_MS)
                steps.time()
                try:
                    before, _, (seconds, microseconds) = steps.execute()
                except ResponseError:
                    self._redis.delete(key)  # no string: the next to come finds nothing and begins anew
                    raise
            return Opening(token if before is None else before, seconds * 1000 + microseconds // 1000)

        return self._ask(renew)

    def claim(self, product_id: int, owner: bytes) -> Claim:
        """The entry, if it has been filled meanwhile, and the lock, if nobody has it."""

        def take() -> Claim:
            with self._redis.pipeline() as steps:
                steps.get(_entry(product_id))
                steps.set(_lock(product_id), owner, nx=True, px=LOCK_MS)
                stored, granted = steps.execute()
            return Claim(unpack(stored), bool(granted))

        return self._ask(take)

    def fill(self, product_id: int, product: str | None, opening: Opening) -> None:
        """Keep what was loaded, unless a write has begun another generation meanwhile.

        Its life counts from the opening, which was before the load.
        """
        life_ms = self._negative_ttl_ms if product is None else self._ttl_ms

        def keep(steps: Pipeline) -> None:
            steps.set(_entry(product_id), pack(product), pxat=opening.at_ms + life_ms)

        self._ask(lambda: self._while_it_is(_generation(product_id), opening.generation, keep))

    def release(self, product_id: int, owner: bytes) -> None:
        """Give the lock back, unless it has expired and is somebody else's by now."""
        key = _lock(product_id)
        self._ask(lambda: self._while_it_is(key, owner, lambda steps: steps.delete(key)))

    def forget(self, product_id: int) -> None:
        """End the entry and begin another generation; call it after COMMIT.

        Tried even while reads rest. If Redis is not there, an old entry lives on until its time is over.
        """
        try:
            with self._redis.pipeline() as steps:
                steps.set(_generation(product_id), secrets.token_hex(8), px=GENERATION_MS)
                steps.delete(_entry(product_id), _lock(product_id))
                steps.execute()
        except RedisError as error:
            self._note_unreachable(error)
            logger.warning("product %d was written, its entry not forgotten", product_id)

    def _get(self, key: str) -> bytes | None:
        """None also for what is no string; it is removed, for nothing but a SET would replace it."""
        try:
            stored: Any = self._redis.get(key)
        except ResponseError:
            self._redis.delete(key)
            return None
        return stored  # type: ignore[no-any-return]

    def _while_it_is(self, key: str, value: bytes, act: Callable[[Pipeline], object]) -> None:
        """Compare and act in one step: if the key changes after it was compared, EXEC does nothing."""
        with self._redis.pipeline() as steps, suppress(WatchError):
            steps.watch(key)  # type: ignore[no-untyped-call]
            if steps.get(key) != value:
                return
            steps.multi()
            act(steps)
            steps.execute()

    def _ask(self, ask: Callable[[], T]) -> T:
        if time.monotonic() < self._resting_until:
            raise CacheUnavailable
        try:
            reply = ask()
        except RedisError as error:
            self._note_unreachable(error)
            raise CacheUnavailable from error
        if not self._reachable:
            self._reachable = True
            logger.warning("Redis answers again")
        return reply

    def _note_unreachable(self, error: RedisError) -> None:
        """Log the change, not each request of an outage; threads that race may log it twice."""
        if isinstance(error, RedisTimeoutError):
            self._resting_until = time.monotonic() + REST_S
        if self._reachable:
            self._reachable = False
            logger.warning("Redis does not answer: %s %s", type(error).__name__, error)


# What is in braces decides a cluster's slot: what belongs to one product lies in the same.


def _entry(product_id: int) -> str:
    return f"product:{{{product_id}}}"


def _generation(product_id: int) -> str:
    return f"generation:{{{product_id}}}"


def _lock(product_id: int) -> str:
    return f"lock:{{{product_id}}}"
