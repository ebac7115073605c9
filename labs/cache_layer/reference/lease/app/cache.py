"""Redis: entries, leases, and one exception for "it cannot be asked"."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError

from app.entries import Entry, seal, unseal

logger = logging.getLogger(__name__)

T = TypeVar("T")
# A request asks at most twice in a row and has 2 s: what Redis does not answer by then is left to Postgres.
DEADLINE_S = 0.5
# Requests that ask Redis at the same time. The others queue here, where their wait is not held against
# Redis: a burst on a busy machine is no outage.
TURNS = 16
# Longer than a load takes. Short, because it also bounds how old a load may be that is filled.
LEASE_MS = 2000


class CacheUnavailable(Exception):
    """Redis refused, or was silent for too long."""


@dataclass(frozen=True)
class Look:
    """entry: what is cached, or None; lease: the token to fill with where nothing is."""

    entry: Entry | None
    lease: bytes = b""


@dataclass(frozen=True)
class Script:
    source: str
    sha: str

    @classmethod
    def read(cls, name: str) -> Script:
        source = Path(__file__).with_name(name).read_text(encoding="utf-8")
        return cls(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


LOOK = Script.read("look.lua")
FILL = Script.read("fill.lua")


def connect(url: str) -> Redis:
    """A client that connects at the first command.

    A command is tried again once, at once and on a new connection, when the one it was sent on
    turns out to be dead: that is how the first request after a restart of Redis gets its answer.
    """
    return Redis.from_url(
        url,
        protocol=2,
        driver_info=None,
        socket_timeout=None,  # the one deadline is set below
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), retries=1, supported_errors=(RedisConnectionError,)),
    )


class Cache:
    """Products by id, each with a time to live; every method but `drop` raises CacheUnavailable."""

    def __init__(self, redis: Redis, *, ttl_s: int, negative_ttl_s: int) -> None:
        self._redis = redis
        self._ttl_ms = ttl_s * 1000
        self._negative_ttl_ms = negative_ttl_s * 1000
        # Those who share a load share what the lease stands for; that must not outlive an entry.
        self._lease_ms = min(LEASE_MS, self._ttl_ms, self._negative_ttl_ms)
        self._turns = asyncio.Semaphore(TURNS)
        self._silent_at = 0.0
        self._reachable = True

    async def look(self, product_id: int, *, unreadable: bytes = b"") -> Look:
        """The entry, or a lease. One round trip; another where the entry is not one of ours."""
        token = secrets.token_hex(8)
        stored, *lease = await self._in_time(
            lambda: self._run(LOOK, _keys(product_id), token, self._lease_ms, unreadable)
        )
        if stored is None:
            return Look(None, *lease)
        entry = unseal(stored)
        return Look(entry) if entry else await self.look(product_id, unreadable=stored)

    async def look_all(self, product_ids: Sequence[int]) -> dict[int, Entry]:
        """The entries that there are, in one round trip and without leases: lists fill nothing."""
        keys = [_keys(product_id)[0] for product_id in product_ids]
        replies: list[Any] = await self._in_time(lambda: self._redis.mget(keys))
        entries = [unseal(stored or b"") for stored in replies]
        return {id_: entry for id_, entry in zip(product_ids, entries, strict=True) if entry}

    async def fill(self, product_id: int, product: str | None, *, lease: bytes) -> None:
        """Keep what was loaded under the lease, unless a write has ended it meanwhile."""
        life_ms = self._negative_ttl_ms if product is None else self._ttl_ms
        arguments = (lease, self._lease_ms, seal(product), life_ms)
        await self._in_time(lambda: self._run(FILL, _keys(product_id), *arguments))

    async def drop(self, product_id: int) -> None:
        """End entry and lease; call it after COMMIT.

        Tries twice: it is worth more than a look, which Postgres can stand in for. If Redis is not
        there, an old entry lives on until its time is over.
        """
        for _ in range(2):
            try:
                await self._in_time(lambda: self._redis.delete(*_keys(product_id)))
                return
            except CacheUnavailable:
                continue
        logger.warning("product %d was written, its entry not dropped", product_id)

    async def _run(self, script: Script, keys: Sequence[str], *arguments: bytes | str | int) -> Any:
        try:
            return await self._redis.evalsha(script.sha, len(keys), *keys, *arguments)
        except NoScriptError:  # first use, SCRIPT FLUSH or a restart; EVAL also caches the script
            return await self._redis.eval(script.source, len(keys), *keys, *arguments)

    async def _in_time(self, ask: Callable[[], Awaitable[T]]) -> T:
        arrived_at = time.monotonic()
        async with self._turns:
            if self._silent_at > arrived_at:  # this one would wait as vainly as those before it
                raise CacheUnavailable
            try:
                async with asyncio.timeout(DEADLINE_S):
                    reply = await ask()
            except (RedisError, OSError) as error:
                if isinstance(error, TimeoutError):
                    self._silent_at = time.monotonic()
                self._note_reachable(False, error)
                raise CacheUnavailable from error
        self._silent_at = 0.0
        self._note_reachable(True)
        return reply

    def _note_reachable(self, reachable: bool, error: Exception | None = None) -> None:
        """Log the change, not each request of an outage."""
        if reachable != self._reachable:
            self._reachable = reachable
            why = f"Redis does not answer: {type(error).__name__} {error}"
            logger.warning("Redis answers again" if reachable else why)

    async def close(self) -> None:
        await self._redis.aclose()


def _keys(product_id: int) -> tuple[str, str]:
    """Entry and lease. What is in braces decides a cluster's slot: both lie in the same."""
    return f"product:{{{product_id}}}", f"lease:{{{product_id}}}"
