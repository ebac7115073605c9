"""The laws of jobs and offsets: never an accusation of a right worker, wherever in its intervals it acts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from labkit.history import (
    Answered,
    Delivery,
    Entry,
    Sample,
    earliest_end,
    overcommitment,
    overtaking,
    repetition,
    step_back,
)

ATTEMPTS = 3
TICK = 0.01
SUCCESS, REFUSAL, FAILURE = Answered.SUCCESS, Answered.REFUSAL, Answered.FAILURE


@dataclass
class Worked:
    """What a party saw of one partition whose jobs a right worker delivered, and what was sampled.

    keys  job -> its key, in the order of the topic
    ends  job -> when it really ended
    """

    keys: dict[str, str] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)
    deliveries: list[Delivery] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    @property
    def entries(self) -> list[Entry]:
        return [
            Entry(0, offset, job, earliest_end(self.of(job), attempts=ATTEMPTS))
            for offset, job in enumerate(self.keys)
        ]

    def of(self, job: str) -> list[Delivery]:
        return [delivery for delivery in self.deliveries if delivery.job == job]

    def jobs_of(self, key: str) -> list[str]:
        return [job for job, its in self.keys.items() if its == key]

    def committed_at(self, moment: float) -> int:
        """The most that a right worker may have committed."""
        return next(
            (offset for offset, job in enumerate(self.keys) if self.ends[job] >= moment), len(self.keys)
        )


@st.composite
def work(draw: st.DrawFn) -> Worked:
    """A worker with a lane for each key, whose commits lag behind by any time, now and then sampled."""
    worked = Worked()
    free = dict.fromkeys("abc", 0.0)
    for number in range(draw(st.integers(1, 12))):
        key, job = draw(st.sampled_from("abc")), f"job-{number}"
        worked.keys[job] = key
        free[key] = worked.ends[job] = _deliver(draw, worked, job, free[key])
    last = max(worked.ends.values()) + 1
    moments = sorted(draw(st.lists(st.floats(0, last), max_size=20)))
    before, received = 0, 0.0
    for moment in moments:
        committed = draw(st.integers(before, worked.committed_at(moment)))
        sent = max(received, moment - draw(st.floats(0, 0.3)))
        received = moment + draw(st.floats(0, 0.3))
        sent = min(sent, moment)
        worked.samples.append(Sample(sent, received, {0: committed} if committed else {}))
        before = committed
    return worked


def _deliver(draw: st.DrawFn, worked: Worked, job: str, begin: float) -> float:
    """One job to its end, with attempts as luck has it; when the worker had it ended."""
    now = begin
    for _ in range(ATTEMPTS):
        now += draw(st.integers(1, 30)) * TICK  # on its way
        sent = now
        now += draw(st.integers(0, 30)) * TICK  # at the party
        answered = draw(st.sampled_from([SUCCESS, SUCCESS, FAILURE, REFUSAL]))
        silent = answered is FAILURE and draw(st.booleans())
        worked.deliveries.append(Delivery(job, sent, math.inf if silent else now, answered))
        now += draw(st.integers(1, 30)) * TICK  # on its way back
        if answered is not FAILURE:
            break
    return now


@given(work())
def test_a_right_worker_is_never_accused(worked):
    assert overcommitment(worked.entries, worked.samples) is None
    assert step_back(worked.samples) is None
    assert repetition(worked.deliveries) is None
    for key in "abc":
        assert overtaking(worked.jobs_of(key), worked.deliveries, attempts=ATTEMPTS) is None


@given(work(), st.data())
def test_a_commit_beyond_an_open_job_is_accused(worked, data):
    offset = data.draw(st.integers(0, len(worked.keys) - 1))
    end = worked.entries[offset].ends
    assume(end > TICK)
    early = Sample(end - 2 * TICK, end - TICK, {0: data.draw(st.integers(offset + 1, 20))})

    violation = overcommitment(worked.entries, [*worked.samples, early])

    assert violation is not None
    assert violation.contradiction == early
    assert "had not ended" in violation.expected


@given(work(), st.data())
def test_a_job_that_starts_before_the_one_in_front_has_ended_is_accused(worked, data):
    jobs = worked.jobs_of(data.draw(st.sampled_from("abc")))
    assume(len(jobs) > 1)
    place = data.draw(st.integers(0, len(jobs) - 2))
    end = earliest_end(worked.of(jobs[place]), attempts=ATTEMPTS)
    early = Delivery(jobs[place + 1], end - TICK, end, SUCCESS)

    violation = overtaking(jobs, [*worked.deliveries, early], attempts=ATTEMPTS)

    assert violation is not None
    assert violation.contradiction == early


@given(work(), st.data())
def test_a_second_success_is_accused_unless_a_crash_explains_it(worked, data):
    done = [delivery for delivery in worked.deliveries if delivery.answered is SUCCESS]
    assume(done)
    again = replace(data.draw(st.sampled_from(done)), sent=1000.0, received=1000.1)

    violation = repetition([*worked.deliveries, again])

    assert violation is not None
    assert violation.contradiction == again
    assert repetition([*worked.deliveries, again], allowed={again.job: 1}) is None


def test_a_job_ends_with_its_last_answer_and_not_before():
    def attempt(sent: float, answered: Answered, received: float) -> Delivery:
        return Delivery("job", sent, received, answered)

    failed, silent = attempt(1, FAILURE, 2), attempt(3, FAILURE, math.inf)

    assert earliest_end([], attempts=2) == math.inf
    assert earliest_end([failed], attempts=2) == math.inf
    assert earliest_end([failed, silent], attempts=2) == 3
    assert earliest_end([failed, attempt(3, SUCCESS, 5)], attempts=3) == 5
    assert earliest_end([failed, attempt(3, REFUSAL, 5)], attempts=3) == 5


@pytest.mark.parametrize(
    ("gap", "accused"), [(0.1, True), (-0.1, False)], ids=["one after the other", "both under way at once"]
)
def test_an_offset_that_goes_back_is_accused_where_the_samples_do_not_overlap(gap, accused):
    first = Sample(1.0, 2.0, {0: 7, 1: 3})
    second = Sample(2.0 + gap, 3.0, {0: 6, 1: 3})

    violation = step_back([first, second])

    assert (violation is not None) is accused
    if violation is not None:
        assert violation.witness == (first, second)
        assert "partition 0" in violation.expected


def test_a_job_that_was_never_delivered_is_overtaken_by_the_next():
    violation = overtaking(["one", "two"], [Delivery("two", 1.0, 2.0, SUCCESS)], attempts=3)

    assert violation is not None
    assert violation.observed == "two delivered first"
