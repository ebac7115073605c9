"""A lane for each key of a partition: its records one after another, beside all other lanes."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Lock, Thread

from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from app.agenda import Agenda
from app.course import Course
from app.watermark import Watermark

logger = logging.getLogger(__name__)

AFTER_A_BUG_S = 1.0

NewCourse = Callable[[ConsumerRecord], Course]


@dataclass(eq=False)
class Stretch:
    """A partition for as long as it is assigned to us in one go. Once given up, its lanes stand still."""

    watermark: Watermark = field(default_factory=Watermark)
    lanes: dict[bytes | None, Lane] = field(default_factory=dict)
    given_up: bool = False


@dataclass(eq=False)
class Lane:
    """The records of one key that are still to be done; the course is that of the first."""

    stretch: Stretch
    key: bytes | None
    records: deque[ConsumerRecord] = field(default_factory=deque)
    course: Course | None = None


class Lanes:
    """Runs the lanes of all partitions on `concurrency` threads. A lane that waits occupies none."""

    def __init__(self, new_course: NewCourse, *, concurrency: int) -> None:
        self._new_course = new_course
        self._lock = Lock()
        self._agenda: Agenda[Lane] = Agenda()
        self._stretches: dict[TopicPartition, Stretch] = {}
        self._threads = [Thread(target=self._run, daemon=True) for _ in range(concurrency)]
        for thread in self._threads:
            thread.start()

    def open(self, partition: TopicPartition) -> None:
        """A partition that is ours from now on."""
        self._stretches[partition] = Stretch()

    def give_up(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions that are no longer ours: what runs is finished and booked, nothing else is begun."""
        for partition in partitions:
            if stretch := self._stretches.pop(partition, None):
                stretch.given_up = True

    def add(self, partition: TopicPartition, records: Iterable[ConsumerRecord]) -> None:
        stretch = self._stretches[partition]
        for record in records:
            stretch.watermark.begin(record.offset)
            with self._lock:
                lane = stretch.lanes.setdefault(record.key, Lane(stretch, record.key))
                lane.records.append(record)
                if len(lane.records) == 1:
                    self._agenda.put(lane)

    def positions(self) -> dict[TopicPartition, int]:
        """What may be committed of each partition that is ours."""
        found = ((partition, stretch.watermark.position) for partition, stretch in self._stretches.items())
        return {partition: position for partition, position in found if position is not None}

    def backlog(self, partition: TopicPartition) -> int:
        """Records of the partition that were begun and not passed by its position; none if it is not ours."""
        stretch = self._stretches.get(partition)
        return stretch.watermark.open if stretch else 0

    def close(self, within_s: float) -> None:
        """Begin nothing more and wait for what runs."""
        ends_at = time.monotonic() + within_s
        self._agenda.close()
        for thread in self._threads:
            thread.join(max(ends_at - time.monotonic(), 0.0))

    def _run(self) -> None:
        while (lane := self._agenda.take()) is not None:
            if lane.stretch.given_up and not (lane.course and lane.course.owes_booking):
                continue
            try:
                self._advance(lane)
            except Exception:
                logger.exception("a turn failed; the lane goes on in a while")
                self._agenda.put(lane, after_s=AFTER_A_BUG_S)

    def _advance(self, lane: Lane) -> None:
        record = lane.records[0]
        lane.course = lane.course or self._new_course(record)
        after_s = lane.course.advance()
        if after_s is not None:
            self._agenda.put(lane, after_s=after_s)
            return
        lane.stretch.watermark.end(record.offset)
        lane.course = None
        with self._lock:
            lane.records.popleft()
            if lane.records:
                self._agenda.put(lane)
            else:
                del lane.stretch.lanes[lane.key]
