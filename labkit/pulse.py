"""Notices when the machine is short of CPU, so that slowness is never charged to a submission."""

from __future__ import annotations

import bisect
import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psutil

_BEAT_S = 0.02
# Shares of a stretch of time. Below the first no processor was to spare; above the second nothing
# ran when it should have, as in a container that has used up its quota.
_LEAST_IDLE = 0.1
_MOST_LATE = 0.2
# Shorter stretches are any burst's own; programs that wait for an answer wait longer than this.
STRETCH_S = 0.3


@dataclass(frozen=True)
class _Beat:
    """One beat, and sums over all beats so far.

    at       when it came
    late     by how much they came late
    idle     how long processors were idle
    starved  end of the latest stretch without a processor to spare
    """

    at: float
    late: float
    idle: float
    starved: float = -math.inf


class Pulse:
    """Sleeps in short beats, and adds up by how much they came late and how long processors were idle.

    A thread that wakes late had to wait for a processor, as the submission's threads had. The sum
    over an interval is what a deadline in that interval is extended by.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._processors = os.cpu_count() or 1
        self._beats = [_Beat(clock(), 0.0, psutil.cpu_times().idle)]
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
        """Seconds by which beats came late from `begin` to `end` (of the clock)."""
        first, last = self._at(begin), self._at(end)
        overdue = max(end - last.at - _BEAT_S, 0.0)
        # The beat in which the stretch begins may have been late before that already.
        return min(last.late - first.late + overdue, end - begin)

    def starved_between(self, begin: float, end: float) -> bool:
        """Whether there was a stretch of 0.3 s in which the machine had no processor to spare."""
        last = self._at(end)
        overdue = min(end - last.at - _BEAT_S, end - begin)
        return last.starved >= begin or overdue > _MOST_LATE * STRETCH_S

    def starved_for(self, begin: float, end: float) -> float:
        """Seconds from `begin` to `end` that lie in such stretches; the last 0.3 s may yet turn out to."""
        open_end = max(begin, end - STRETCH_S)
        starved, until = end - open_end, begin
        first = bisect.bisect_left(self._beats, begin, key=lambda beat: beat.at)
        for beat in self._beats[first:]:
            since, stop = max(until, beat.at - STRETCH_S), min(beat.at, open_end)
            if beat.starved == beat.at and stop > since:
                starved += stop - since
                until = stop
        return starved

    def _at(self, moment: float) -> _Beat:
        """The last beat up to a moment."""
        place = bisect.bisect_right(self._beats, moment, key=lambda beat: beat.at)
        return self._beats[max(place - 1, 0)]

    def _beat(self) -> None:
        for _ in itertools.count():
            begin = self._clock()
            if self._ended.wait(_BEAT_S):
                return
            now = self._clock()
            late = self._beats[-1].late + max(now - begin - _BEAT_S, 0.0)
            self._beats.append(self._judged(_Beat(now, late, psutil.cpu_times().idle)))

    def _judged(self, beat: _Beat) -> _Beat:
        """The beat, with what is known of the stretch that it ends."""
        first = self._at(beat.at - STRETCH_S)
        length = max(beat.at - first.at, STRETCH_S)
        idle = (beat.idle - first.idle) / (length * self._processors)
        starved = idle < _LEAST_IDLE or beat.late - first.late > _MOST_LATE * length
        return replace(beat, starved=beat.at if starved else self._beats[-1].starved)
