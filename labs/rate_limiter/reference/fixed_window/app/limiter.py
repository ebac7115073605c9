"""The decision: one transaction, bounded waits, one exception for "Redis cannot say"."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass

from redis import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

logger = logging.getLogger(__name__)

# Outages must be answered within a second; a Redis that needs 100 ms per round trip must still do.
TIMEOUT_S = 0.7
# A thread that waits for a silent Redis serves nobody: after a timeout nobody asks for this long.
REST_S = 0.5


class LimiterUnavailable(Exception):
    """Redis did not decide, or was silent so recently that it was not asked."""


@dataclass(frozen=True)
class Decision:
    """remaining: requests left after this one; retry_after_s: whole seconds, 0 when admitted."""

    admitted: bool
    remaining: int
    retry_after_s: int


def connect(url: str, *, connections: int) -> Redis:
    """A client that connects at the first command; `connections` is the number of threads it serves.

    A command is tried again once, at once and on a new connection, when the one it was sent on
    turns out to be dead: that is how the first request after a restart of Redis gets its answer.
    RESP2 without CLIENT SETINFO leaves nothing to say when a connection opens.
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


class FixedWindow:
    """Admits `limit` requests per window; a client's first request opens its window of `window_ms`."""

    def __init__(self, redis: Redis, *, limit: int, window_ms: int) -> None:
        self._redis = redis
        self._limit = limit
        self._window_ms = window_ms
        self._resting_until = 0.0
        self._reachable = True

    def decide(self, client: str) -> Decision:
        """Count one request of the client. Raises LimiterUnavailable within about TIMEOUT_S."""
        if time.monotonic() < self._resting_until:
            raise LimiterUnavailable
        try:
            count, left_ms = self._count(f"window:{client}")
        except RedisError as error:
            if isinstance(error, RedisTimeoutError):
                self._resting_until = time.monotonic() + REST_S
            self._note_reachable(False, error)
            raise LimiterUnavailable from error
        self._note_reachable(True)
        admitted = count <= self._limit
        return Decision(
            admitted=admitted,
            remaining=max(0, self._limit - count),
            retry_after_s=0 if admitted else max(1, math.ceil(left_ms / 1000)),
        )

    def _count(self, key: str) -> tuple[int, int]:
        """Requests in the window, this one included, and the milliseconds until it ends.

        NX sets the time to live with the first request and never moves it afterwards. MULTI makes the three
        one step: no crash between them can leave a counter that never ends.
        """
        with self._redis.pipeline(transaction=True) as transaction:
            transaction.incr(key)
            transaction.pexpire(key, self._window_ms, nx=True)
            transaction.pttl(key)
            count, _, left_ms = transaction.execute()
        return count, left_ms

    def _note_reachable(self, reachable: bool, error: Exception | None = None) -> None:
        """Log the change, not each request of an outage; threads that race may log it twice."""
        if reachable != self._reachable:
            self._reachable = reachable
            why = f"Redis does not decide: {type(error).__name__} {error}"
            logger.warning("Redis decides again" if reachable else why)
