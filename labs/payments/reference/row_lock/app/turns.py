"""Threads that want the same key queue here, rather than each with a connection at the row's lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class OutOfTurn(Exception):
    """Another thread took too long."""


@dataclass
class _Queue:
    lock: threading.Lock = field(default_factory=threading.Lock)
    length: int = 0


class Turns:
    """One thread at a time for each key. This saves connections; other processes know nothing of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[Hashable, _Queue] = {}

    @contextmanager
    def turn(self, key: Hashable, *, until: float) -> Iterator[None]:
        """Raises OutOfTurn if it does not come until then, by time.monotonic."""
        with self._lock:
            queue = self._queues.setdefault(key, _Queue())
            queue.length += 1
        try:
            if not queue.lock.acquire(timeout=max(until - time.monotonic(), 0)):
                raise OutOfTurn
            try:
                yield
            finally:
                queue.lock.release()
        finally:
            with self._lock:
                queue.length -= 1
                if not queue.length:
                    del self._queues[key]
