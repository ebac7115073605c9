"""What the queue worker's checks make of jobs that they wait for in vain, without any service."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from labkit import CheckFailed, Inconclusive

TRIED = 1


class Waiting:
    """A bench on which nothing is delivered any more; its clock goes on by a second each time."""

    def __init__(self, part: Callable[[str], ModuleType], *attempts: bytes, busy: bool = False) -> None:
        record = part("topics").Record
        self.job = part("jobs").Job("job:1", "some-key")
        headers = [(("x-error", b"Postgres was away"), ("x-attempts", each)) for each in attempts]
        self.letters = [record(0, 0, b"some-key", self.job.value, each) for each in headers]
        self.topics = SimpleNamespace(dead=SimpleNamespace(read=lambda: self.letters))
        self.arena = SimpleNamespace(clock=itertools.count().__next__)
        self.waited = 0.0
        self.missed = False
        self._busy = busy

    def busy(self) -> bool:
        return self._busy

    def tried(self, job: Any) -> int:  # noqa: ARG002 - the one that there is
        return TRIED

    def unsuccessful(self, jobs: list[Any]) -> list[Any]:
        return jobs

    def wait(self, *conditions: Callable[[], bool], within: float) -> bool:
        while self.waited < within:
            self.waited += 1
            if any(holds() for holds in conditions):
                return True
        return False

    def story(self, *_: Any, **__: Any) -> list[Any]:
        return []


def test_a_job_that_has_died_is_not_waited_for_and_says_why(part: Callable[[str], ModuleType]) -> None:
    bench = Waiting(part, b"1")

    with pytest.raises(CheckFailed) as failed:
        part("outcomes").succeed(bench, [bench.job])

    assert failed.value.observed == "0; job:1 is missing; it is a dead letter: Postgres was away"
    assert bench.waited < 3
    assert not bench.missed


def test_a_delivery_that_will_not_come_is_not_waited_for(part: Callable[[str], ModuleType]) -> None:
    bench = Waiting(part, b"1")

    with pytest.raises(CheckFailed) as failed:
        part("outcomes").deliveries(bench, bench.job, 2)

    assert failed.value.observed == "1 deliveries; it is a dead letter: Postgres was away"
    assert bench.waited < 3


def test_a_job_that_is_nowhere_is_waited_for_and_may_be_the_groups_fault(
    part: Callable[[str], ModuleType],
) -> None:
    bench = Waiting(part)

    with pytest.raises(CheckFailed) as failed:
        part("outcomes").succeed(bench, [bench.job], within=10)

    assert failed.value.observed == "0; job:1 is missing"
    assert bench.waited == 10
    assert bench.missed


def test_a_busy_machine_may_have_kept_deliveries_from_the_sink(part: Callable[[str], ModuleType]) -> None:
    bench = Waiting(part, b"4", busy=True)

    with pytest.raises(Inconclusive, match="before they arrived"):
        part("outcomes").succeed(bench, [bench.job])


def test_attempts_that_the_sink_has_not_seen_are_no_excuse_on_a_quiet_machine(
    part: Callable[[str], ModuleType],
) -> None:
    bench = Waiting(part, b"4")

    with pytest.raises(CheckFailed, match="dead letter"):
        part("outcomes").succeed(bench, [bench.job])
