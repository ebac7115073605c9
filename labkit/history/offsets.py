"""Laws of what a consumer group has committed, as samples of it show.

A commit was made before the answer to the question for it came, and a job ends no earlier than the
party that it is delivered to gives its last answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from labkit.history.decision import Violation


@dataclass(frozen=True)
class Sample:
    """What a group had committed at some moment within [sent, received].

    committed  partition -> the offset of the next record to be read; a partition without is absent
    """

    sent: float
    received: float
    committed: Mapping[int, int]
    ref: object = None


@dataclass(frozen=True)
class Entry:
    """A record with a job.

    ends  seconds on the grader's clock; the job has not ended before. `math.inf`: it has not ended
    """

    partition: int
    offset: int
    job: str
    ends: float = math.inf


def overcommitment(entries: Iterable[Entry], samples: Iterable[Sample]) -> Violation | None:
    """A committed offset beyond a record whose job had not ended: the first sample that shows one."""
    first: dict[int, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.offset):
        first.setdefault(entry.partition, []).append(entry)
    for sample in sorted(samples, key=lambda sample: sample.received):
        for partition, committed in sample.committed.items():
            for entry in first.get(partition, []):
                if entry.offset < committed and sample.received < entry.ends:
                    return _passed(entry, sample)
    return None


def _passed(entry: Entry, sample: Sample) -> Violation:
    return Violation(
        rule="the committed offset never passes a job that has not ended",
        expected=f"at most {entry.offset} committed in partition {entry.partition} while the job at "
        f"{entry.offset} ({entry.job}) had not ended",
        observed=f"{sample.committed[entry.partition]}",
        witness=(sample,),
        contradiction=sample,
    )


def step_back(samples: Sequence[Sample]) -> Violation | None:
    """A committed offset that is lower than an earlier sample's."""
    highest: dict[int, Sample] = {}
    for sample in sorted(samples, key=lambda sample: sample.sent):
        for partition, committed in sample.committed.items():
            before = highest.get(partition)
            if before is not None and committed < before.committed[partition]:
                if before.received <= sample.sent:
                    return _back(partition, before, sample)
            else:
                highest[partition] = sample
    return None


def _back(partition: int, before: Sample, sample: Sample) -> Violation:
    return Violation(
        rule="committed offsets never go back",
        expected=f"{before.committed[partition]} or more committed in partition {partition}",
        observed=f"{sample.committed[partition]}, {sample.sent - before.received:.3f} s after "
        f"{before.committed[partition]} had been seen",
        witness=(before, sample),
        contradiction=sample,
    )
