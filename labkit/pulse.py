"""Notices when the machine is short of CPU, so that slowness is never charged to a submission."""

from __future__ import annotations

import bisect
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_BEAT_S = 0.02


class Pulse:
    """Sleeps in short beats and adds up by how much each one came late.

    A thread that wakes late had to wait for a processor, as the submission's threads had. The sum
    over an interval is what a deadline in that interval is extended by.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._times: list[float] = [clock()]
        self._late: list[float] = [0.0]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="labkit-pulse", daemon=True)

    @classmethod
    @contextmanager
    def open(cls, clock: Callable[[], float]) -> Iterator[Pulse]:
        pulse = cls(clock)
        pulse._thread.start()
        try:
            yield pulse
        finally:
            pulse._ended.set()
            pulse._thread.join()

    def late_between(self, begin: float, end: float) -> float:
        """Seconds by which beats came late from `begin` to `end` of the clock."""
        times = self._times
        first = max(bisect.bisect_right(times, begin) - 1, 0)
        last = max(bisect.bisect_right(times, end) - 1, first)
        overdue = max(end - times[last] - _BEAT_S, 0.0)
        return self._late[last] - self._late[first] + overdue

    def _beat(self) -> None:
        for _ in itertools.count():
            begin = self._clock()
            if self._ended.wait(_BEAT_S):
                return
            now = self._clock()
            self._late.append(self._late[-1] + max(now - begin - _BEAT_S, 0.0))
            self._times.append(now)
