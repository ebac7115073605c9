"""The laws of jobs, judged from what the sink has seen and what samples of the commits show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from labkit import CheckFailed, EvidenceRow, expect, shortened
from labkit.history import (
    Entry,
    Sample,
    Violation,
    earliest_end,
    overcommitment,
    overtaking,
    repetition,
    step_back,
)

from .jobs import Job
from .sink import Delivered, rows_of_deliveries
from .topics import Record, ends_of

if TYPE_CHECKING:
    from .bench import Bench

COMMITTED_WITHIN_S = 8.0


def in_order(bench: Bench, jobs: Sequence[Job], *, reading: str = "Order", hint: str | None = None) -> None:
    """Jobs of one key, given in the order of the topic, were delivered one after another."""
    seen = [each.as_delivery for each in bench.sink.of_keys([jobs[0].key])]
    broken = overtaking([job.id for job in jobs], seen, attempts=bench.attempts)
    _held(bench, broken, reading=reading, hint=hint)


def once(
    bench: Bench,
    jobs: Sequence[Job],
    *,
    allowed: Mapping[str, int] | None = None,
    reading: str = "Once",
    hint: str | None = None,
) -> None:
    """Each job has one successful delivery, and as many more as `allowed` tells."""
    ids = {job.id for job in jobs}
    seen = [each.as_delivery for each in list(bench.sink.all) if each.job_id in ids and each.surely_heard]
    _held(bench, repetition(seen, allowed=allowed or {}), reading=reading, hint=hint)


def commits_are_true(
    bench: Bench,
    jobs: Sequence[Job],
    *,
    ends: Mapping[Record, float] | None = None,
    reading: str = "Commits",
    hint: str | None = None,
) -> None:
    """At no time was committed more than the jobs before it had ended; `ends` of records without a job."""
    entries = [_entry(bench, job) for job in jobs if job.record is not None]
    entries += [Entry(record.partition, record.offset, "poison", end) for record, end in (ends or {}).items()]
    begin = bench.begun
    samples = [sample for sample in list(bench.topics.samples) if sample.sent >= begin]
    _held(bench, overcommitment(entries, samples), reading=reading, hint=hint, jobs=jobs)


def is_committed(bench: Bench, job: Job) -> bool:
    """Whether the newest sample lies beyond this job's record."""
    assert job.record is not None
    committed = bench.topics.samples[-1].committed if bench.topics.samples else {}
    return committed.get(job.record.partition, 0) > job.record.offset


def offsets_never_go_back(bench: Bench, *, reading: str, hint: str | None = None) -> None:
    """From the beginning of the check on."""
    samples = [
        sample
        for sample in list(bench.topics.samples)
        if sample.sent >= bench.begun and sample.ref == bench.topics.group
    ]
    _held(bench, step_back(samples), reading=reading, hint=hint)


def commits_reach_the_ends(
    bench: Bench, *, reading: str = "Commits", hint: str | None = None, within: float = COMMITTED_WITHIN_S
) -> None:
    """With nothing left to do, what is committed comes to be the end of every partition."""
    ends = ends_of(bench.topics.jobs.read())

    def reached() -> bool:
        committed = bench.topics.samples[-1].committed if bench.topics.samples else {}
        return all(committed.get(partition) == end for partition, end in ends.items())

    if bench.wait(reached, within=within, every=0.03):
        return
    bench.missed = True
    committed = bench.topics.committed()
    expect(
        [f"{committed.get(partition, 'nothing')} of {end}" for partition, end in sorted(ends.items())],
        equals=[f"{end} of {end}" for _, end in sorted(ends.items())],
        unit=f"committed in the partitions {', '.join(map(str, sorted(ends)))} when idle",
        hints=[
            (
                lambda _: all(committed.get(partition) == end - 1 for partition, end in ends.items()),
                "what is committed is the next offset to be read, not that of the last record",
            ),
            (lambda _: not committed, f"nothing is committed for the group {bench.topics.group}"),
            (lambda _: hint is not None, hint or ""),
        ],
        evidence=lambda: bench.story(output=True),
        reading=reading,
    )


def _entry(bench: Bench, job: Job) -> Entry:
    assert job.record is not None
    deliveries = [each.as_delivery for each in bench.sink.of(job.id)]
    end = earliest_end(deliveries, attempts=bench.attempts)
    return Entry(job.record.partition, job.record.offset, job.id, end)


def _held(
    bench: Bench,
    violation: Violation | None,
    *,
    reading: str,
    hint: str | None,
    jobs: Sequence[Job] = (),
) -> None:
    if violation is not None:
        raise CheckFailed(
            expected=f"{violation.expected} ({violation.rule})",
            observed=violation.observed,
            hint=hint,
            evidence=_witness(bench, violation, jobs),
            reading=reading,
            sure=True,
        )


def _witness(bench: Bench, violation: Violation, jobs: Sequence[Job]) -> list[EvidenceRow]:
    mark = violation.contradiction.ref if violation.contradiction is not None else None
    delivered = [each.ref for each in violation.witness if isinstance(each.ref, Delivered)]
    rows = rows_of_deliveries(delivered, mark=mark if isinstance(mark, Delivered) else None)
    samples = [each for each in violation.witness if isinstance(each, Sample)]
    if samples:
        around = bench.sink.of_keys([job.key for job in jobs])
        rows += rows_of_deliveries(around)
        rows += [_sample_row(sample, marked=sample is violation.contradiction) for sample in samples]
    moments = [each.sent for each in violation.witness]
    rows += bench.arena.timeline(min(moments) - 2, max(moments) + 1)
    return shortened(sorted(rows, key=lambda row: row.at or 0.0))


def _sample_row(sample: Sample, *, marked: bool) -> EvidenceRow:
    said = ", ".join(f"{partition}: {offset}" for partition, offset in sorted(sample.committed.items()))
    return EvidenceRow(
        at=round(sample.received, 3), who="kafka", what=f"committed of {sample.ref}", answer=said, mark=marked
    )
