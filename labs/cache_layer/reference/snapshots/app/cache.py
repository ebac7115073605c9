"""Redis: entries, guards, and one exception for "it cannot be asked"."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError

from app.entries import Entry, read_entry, write_entry

logger = logging.getLogger(__name__)

T = TypeVar("T")
# A request asks at most twice in a row and has 2 s: what Redis does not answer by then is left to Postgres.
DEADLINE_S = 0.5
# Requests that ask Redis at the same time. The others queue here, where their wait is not held against
# Redis: a burst on a busy machine is no outage.
TURNS = 16
# A write that is forgotten can no longer stop the load that began before it: longer than any load takes.
GUARD_MS = 10_000


class CacheUnavailable(Exception):
    """Redis refused, or was silent for too long."""


@dataclass(frozen=True)
class Look:
    """What was found about some products.

    entries  by id, those that there are
    guards   by id, of the products without an entry
    at_ms    when, by Redis' clock
    """

    entries: Mapping[int, Entry]
    guards: Mapping[int, bytes]
    at_ms: int


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
NOTE = Script.read("note.lua")


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
    """Products by id, each with a time to live; every method but `note` raises CacheUnavailable."""

    def __init__(self, redis: Redis, *, ttl_s: int, negative_ttl_s: int) -> None:
        self._redis = redis
        self._ttl_ms = ttl_s * 1000
        self._negative_ttl_ms = negative_ttl_s * 1000
        self._turns = asyncio.Semaphore(TURNS)
        self._silent_at = 0.0
        self._reachable = True

    async def look(self, product_ids: Sequence[int], *, past_entries: bool = False) -> Look:
        """Entries and guards, in one round trip. An entry that is not ours is neither: see `past_entries`."""
        arguments = (secrets.token_hex(8), GUARD_MS, int(past_entries))
        found, at_ms = await self._in_time(lambda: self._run(LOOK, product_ids, *arguments))
        entries: dict[int, Entry] = {}
        guards: dict[int, bytes] = {}
        for product_id, (stored, *guard) in zip(product_ids, found, strict=True):
            if stored is None:
                guards[product_id] = guard[0]
            elif entry := read_entry(product_id, stored):
                entries[product_id] = entry
        return Look(entries, guards, at_ms)

    async def fill(self, products: Mapping[int, str | None], *, look: Look, horizon: int) -> None:
        """Keep those of the products that may be kept. Their lives count from the look, before the load."""
        arguments: list[bytes | str | int] = []
        for product_id, product in products.items():
            life_ms = self._negative_ttl_ms if product is None else self._ttl_ms
            birth = look.guards[product_id].split()[0]
            arguments += [birth, write_entry(product_id, product), look.at_ms + life_ms]
        await self._in_time(lambda: self._run(FILL, list(products), horizon, *arguments))

    async def note(self, product_id: int, *, transaction: int) -> None:
        """Make a committed write known.

        Tries twice: it is worth more than a look, which Postgres can stand in for. If Redis is not
        there, an old entry lives on until its time is over.
        """
        for _ in range(2):
            arguments = (transaction, secrets.token_hex(8), GUARD_MS)
            try:
                await self._in_time(lambda: self._run(NOTE, [product_id], *arguments))  # noqa: B023
                return
            except CacheUnavailable:
                continue
        logger.warning("product %d was written, which the cache does not know", product_id)

    async def _run(self, script: Script, product_ids: Sequence[int], *arguments: bytes | str | int) -> Any:
        keys = [key for product_id in product_ids for key in (f"product:{product_id}", f"guard:{product_id}")]
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
