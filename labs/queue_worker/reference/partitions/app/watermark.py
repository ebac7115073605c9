"""How far a partition is done: no further than to the first record that has not ended."""

from __future__ import annotations

import heapq


class Watermark:
    """Offsets begin in the order of the partition and end in any order."""

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._begun: list[int] = []  # a heap; those that are not open any more are dropped when they come up
        self._next: int | None = None

    def begin(self, offset: int) -> None:
        self._open.add(offset)
        heapq.heappush(self._begun, offset)
        self._next = offset + 1

    def end(self, offset: int) -> None:
        self._open.discard(offset)
        while self._begun and self._begun[0] not in self._open:
            heapq.heappop(self._begun)

    @property
    def position(self) -> int | None:
        """What may be committed: the offset to go on with after a restart; None if nothing was read yet."""
        return self._begun[0] if self._begun else self._next

    @property
    def open(self) -> int:
        """Records that have begun and not ended."""
        return len(self._open)
