"""How far a partition is done: no further than to the first record that has not ended."""

from __future__ import annotations

from collections import deque
from threading import Lock


class Watermark:
    """Offsets begin in the order of the partition and end in any order. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._begun: deque[int] = deque()
        self._ended: set[int] = set()
        self._position: int | None = None

    def begin(self, offset: int) -> None:
        with self._lock:
            self._begun.append(offset)

    def end(self, offset: int) -> None:
        with self._lock:
            self._ended.add(offset)
            while self._begun and self._begun[0] in self._ended:
                done = self._begun.popleft()
                self._ended.remove(done)
                self._position = done + 1

    @property
    def position(self) -> int | None:
        """What may be committed: the next offset to be read after a restart; None until there is one."""
        return self._position

    @property
    def open(self) -> int:
        """Records that were begun and that the position has not passed."""
        return len(self._begun)
