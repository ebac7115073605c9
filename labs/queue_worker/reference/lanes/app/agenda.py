"""What has to be done when: threads take from it what is due."""

from __future__ import annotations

import heapq
import itertools
import time
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")


class Agenda(Generic[T]):
    """Things that wait here for their time occupy no thread. Those due at the same time keep their order."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._entries: list[tuple[float, int, T]] = []
        self._numbers = itertools.count()
        self._closed = False

    def put(self, thing: T, *, after_s: float = 0.0) -> None:
        with self._changed:
            entry = (time.monotonic() + after_s, next(self._numbers), thing)
            heapq.heappush(self._entries, entry)
            self._changed.notify()

    def take(self) -> T | None:
        """Wait for the next that is due; None once closed, whatever is still there."""
        with self._changed:
            while not self._closed:
                left_s = self._entries[0][0] - time.monotonic() if self._entries else None
                if left_s is not None and left_s <= 0:
                    return heapq.heappop(self._entries)[2]
                self._changed.wait(left_s)
        return None

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
