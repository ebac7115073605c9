"""The decision: one script call, one deadline, one exception for "Redis cannot say"."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError

logger = logging.getLogger(__name__)

# Outages must be answered within a second; a Redis that needs 100 ms per round trip must still do.
DEADLINE_S = 0.7
# Requests that ask Redis at the same time. The others queue here, where their wait is not held against
# Redis: a burst on a busy machine is no outage.
TURNS = 16
SCRIPT = Path(__file__).with_name("sliding_log.lua").read_text(encoding="utf-8")
SCRIPT_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


class LimiterUnavailable(Exception):
    """Redis refused, or was silent for too long."""


@dataclass(frozen=True)
class Decision:
    """remaining: requests left after this one; retry_after_s: whole seconds, 0 when admitted."""

    admitted: bool
    remaining: int
    retry_after_s: int


def connect(url: str) -> Redis:
    """A client that connects at the first command.

    A command is tried again once, at once and on a new connection, when the one it was sent on
    turns out to be dead: that is how the first request after a restart of Redis gets its answer.
    RESP2 without CLIENT SETINFO leaves nothing to say when a connection opens.
    """
    return Redis.from_url(
        url,
        protocol=2,
        driver_info=None,
        socket_timeout=None,  # decide() sets the one deadline
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), retries=1, supported_errors=(RedisConnectionError,)),
    )


class SlidingLog:
    """Admits a request if fewer than `limit` were admitted within the last `window_ms`."""

    def __init__(self, redis: Redis, *, limit: int, window_ms: int) -> None:
        self._redis = redis
        self._limit = limit
        self._window_ms = window_ms
        self._turns = asyncio.Semaphore(TURNS)
        self._silent_at = 0.0
        self._reachable = True

    async def decide(self, client: str) -> Decision:
        """Spend one request of the client's budget, if any is left.

        Raises LimiterUnavailable when Redis refuses, or was silent for DEADLINE_S.
        """
        arrived_at = time.monotonic()
        async with self._turns:
            if self._silent_at > arrived_at:  # this one would wait as vainly as those before it
                raise LimiterUnavailable
            try:
                async with asyncio.timeout(DEADLINE_S):
                    admitted, remaining, wait_us = await self._run_script(client)
            except (RedisError, OSError) as error:
                if isinstance(error, TimeoutError):
                    self._silent_at = time.monotonic()
                self._note_reachable(False, error)
                raise LimiterUnavailable from error
        self._silent_at = 0.0
        self._note_reachable(True)
        retry_after_s = 0 if admitted else max(1, math.ceil(wait_us / 1_000_000))
        return Decision(admitted=bool(admitted), remaining=remaining, retry_after_s=retry_after_s)

    async def _run_script(self, client: str) -> tuple[int, int, int]:
        arguments = (f"rate:{client}", self._limit, self._window_ms, uuid.uuid4().hex)
        try:
            reply = await self._redis.evalsha(SCRIPT_SHA, 1, *arguments)
        except NoScriptError:  # first use, SCRIPT FLUSH or a restart; EVAL also caches the script
            reply = await self._redis.eval(SCRIPT, 1, *arguments)
        admitted, remaining, wait_us = reply
        return admitted, remaining, wait_us

    def _note_reachable(self, reachable: bool, error: Exception | None = None) -> None:
        """Log the change, not each request of an outage."""
        if reachable != self._reachable:
            self._reachable = reachable
            why = f"Redis does not decide: {type(error).__name__} {error}"
            logger.warning("Redis decides again" if reachable else why)

    async def close(self) -> None:
        await self._redis.aclose()
