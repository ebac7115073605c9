"""Laws of jobs that workers deliver to an outside party, as that party saw it.

A delivery was sent before the party had it, and its answer was known to the worker only after it had
been given: so a job has ended no earlier than its last answer, and the next job of its key has
started no later than it arrived.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from labkit.history.decision import Violation


class Answered(StrEnum):
    """What a delivery's answer means to its job."""

    SUCCESS = "success"
    REFUSAL = "refusal"
    FAILURE = "failure"


@dataclass(frozen=True)
class Delivery:
    """One delivery of a job.

    sent      seconds on the grader's clock, when all of it had arrived
    received  seconds on the same clock, just before the answer was given; `math.inf` if it never was
    answered  REFUSAL is final, FAILURE (also no answer at all) is not
    process   the worker
    ref       whatever the caller wants to find it by
    """

    job: str
    sent: float
    received: float
    answered: Answered
    process: str = ""
    ref: object = None


def earliest_end(deliveries: Iterable[Delivery], *, attempts: int) -> float:
    """When a job can have ended at the earliest, seen from its deliveries; `math.inf` if it cannot have.

    `attempts` is the number of failures after which a job is dead.
    """
    in_order = sorted(deliveries, key=lambda delivery: delivery.sent)
    final = next((each for each in in_order if each.answered is not Answered.FAILURE), None)
    failures = [each for each in in_order if each.answered is Answered.FAILURE]
    ends = [final.received] if final is not None else []
    if len(failures) >= attempts:
        last = failures[attempts - 1]
        # One that nobody answers ends by the worker's own clock.
        ends.append(last.received if math.isfinite(last.received) else last.sent)
    return min(ends, default=math.inf)


def overtaking(
    order: Sequence[str], deliveries: Iterable[Delivery], *, attempts: int, ends: Mapping[str, float] = {}
) -> Violation | None:
    """A job that was delivered before one in front of it had ended. `order` is that of one key's jobs.

    `ends` tells when jobs can have ended at the earliest, where more is known than their deliveries say.
    """
    by_job: dict[str, list[Delivery]] = {job: [] for job in order}
    for delivery in sorted(deliveries, key=lambda delivery: delivery.sent):
        if delivery.job in by_job:
            by_job[delivery.job].append(delivery)
    blocking, open_until = "", -math.inf
    for job in by_job:
        first = by_job[job][0] if by_job[job] else None
        if first is not None and first.sent < open_until:
            return _overtaken(blocking, by_job[blocking], first)
        end = max(earliest_end(by_job[job], attempts=attempts), ends.get(job, -math.inf))
        if end > open_until:
            blocking, open_until = job, end
    return None


def _overtaken(job: str, deliveries: Sequence[Delivery], by: Delivery) -> Violation:
    began = [delivery for delivery in deliveries if delivery.sent <= by.sent]
    late = deliveries[: len(began) + 1] if began else deliveries[:1]
    return Violation(
        rule="of one key the next job starts when the one before has ended",
        expected=f"{by.job} delivered after {job} has ended",
        observed=f"{by.job} delivered {'meanwhile' if began else 'first'}",
        witness=tuple(sorted([*late, by], key=lambda delivery: delivery.sent)),
        contradiction=by,
    )


def repetition(deliveries: Iterable[Delivery], *, allowed: Mapping[str, int] = {}) -> Violation | None:
    """A job with more successful deliveries than one and those that its `allowed` crashes explain."""
    successes: dict[str, list[Delivery]] = {}
    for delivery in sorted(deliveries, key=lambda delivery: delivery.received):
        if delivery.answered is Answered.SUCCESS:
            successes.setdefault(delivery.job, []).append(delivery)
    for job, found in successes.items():
        most = 1 + allowed.get(job, 0)
        if len(found) > most:
            return Violation(
                rule="a job has one successful delivery, and one more for each crash before its booking",
                expected=f"at most {most} successful deliver{'y' if most == 1 else 'ies'} of {job}",
                observed=f"{len(found)}",
                witness=tuple(found),
                contradiction=found[most],
            )
    return None
