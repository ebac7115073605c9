"""The queue worker's sink and what its checks make of deliveries, without any service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from labkit import Call, Loop
from labkit.history import Answered


class Clock:
    """Goes on by a second each time somebody looks."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop.open() as opened:
        yield opened


@pytest.fixture
def sink(part: Callable[[str], ModuleType], loop: Loop) -> Any:
    return part("sink").Sink(loop, Clock())


def call(body: bytes, *, gone: bool = False, worker: str = "worker-1") -> Call:
    return Call(0.5, worker, "POST", "/", {"idempotency-key": "j-1"}, body, gone=lambda: gone)


def job(number: int = 1, key: str = "k") -> bytes:
    return f'{{"job_id": "j-{number}", "key": "{key}", "attempt": 1, "payload": {{}}}}'.encode()


def answered(sink: Any, *calls: Call) -> list[int | None]:
    replies = [asyncio.run(sink.answer(each)) for each in calls]
    return [reply and reply.status for reply in replies]


def test_each_job_of_a_key_gets_the_answers_of_its_script(sink, part):
    sink.script("k", 500, part("sink").CUT, rest=409)

    assert answered(sink, *[call(job(1))] * 4) == [500, None, 409, 409]
    assert answered(sink, call(job(2))) == [500]
    assert answered(sink, call(job(3, "another"))) == [200]


def test_a_script_for_one_job_goes_before_that_of_its_key(sink):
    sink.script("k", rest=500)
    sink.script("j-2", rest=400)

    assert answered(sink, call(job(1)), call(job(2))) == [500, 400]


def test_what_is_no_job_is_kept_and_answered_all_the_same(sink):
    assert answered(sink, call(b"no JSON"), call(b"[]")) == [200, 200]
    assert [(each.job_id, each.key, each.attempt) for each in sink.all] == [(None, None, None)] * 2


def test_nobody_has_heard_an_answer_after_leaving(sink):
    assert answered(sink, call(job(), gone=True)) == [None]
    (delivered,) = sink.of("j-1")
    assert (delivered.status, delivered.kind, delivered.open) == (None, Answered.FAILURE, False)


def test_a_late_answer_proves_no_success(sink):
    answered(sink, call(job()))
    (delivered,) = sink.of("j-1")
    assert delivered.surely_heard

    delivered.answered = delivered.at + 1.9
    assert not delivered.surely_heard


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, "success"),
        (204, "success"),
        (400, "refusal"),
        (429, "refusal"),
        (500, "failure"),
        (None, "failure"),
    ],
)
def test_an_answer_means_what_the_brief_says(sink, status, kind):
    answered(sink, call(job()))
    (delivered,) = sink.of("j-1")
    delivered.status = status

    assert delivered.kind == kind
    assert delivered.as_delivery.answered == kind


def test_a_blow_explains_only_what_its_worker_had_in_hand(sink, part):
    storm = part("storm").Storm()
    storm.blows.append(part("storm").Blow("worker-1", at=10.0, extra=1))
    answered(sink, call(job(1)), call(job(2), worker="worker-2"), call(job(3)), call(job(4)))
    for number, (at, end) in enumerate([(9.0, 9.5), (9.0, 9.5), (1.0, 2.0), (20.0, 20.1)], start=1):
        (delivered,) = sink.of(f"j-{number}")
        delivered.at, delivered.answered = at, end

    assert storm.allowed(sink.all) == {"j-1": 1}


def test_the_end_of_a_partition_is_behind_its_last_record(part):
    record = part("topics").Record

    ends = part("topics").ends_of(
        [record(0, 3, None, None), record(0, 4, b"k", b"v"), record(2, 0, None, None)]
    )

    assert ends == {0: 5, 2: 1}


def test_values_are_compared_exactly_and_further_members_are_nobodys_business(part):
    told = part("values").told_differences
    load = part("values").load
    wanted = load('{"id": "j", "payload": {"big": 9007199254740993, "no": false}}')

    assert told(wanted, load('{"id": "j", "payload": {"big": 9007199254740993, "no": false}, "at": 1}')) == []
    assert told(wanted, load('{"id": "j", "payload": {"big": 9007199254740992, "no": 0}}')) == [
        "payload.big is 9007199254740992, not 9007199254740993",
        "payload.no is 0, not false",
    ]
    assert told(wanted, load('{"id": "j", "payload": {"big": 9007199254740993, "no": false, "at": 1}}')) == [
        "payload.at is there, which nobody has sent"
    ]
    assert told(wanted, None) == ["it is null, not an object"]


def test_a_job_is_written_as_what_it_is(part):
    made = part("jobs").Job("j", "ключ", {"n": 1})

    assert made.value.decode() == '{"id": "j", "key": "ключ", "payload": {"n": 1}}'
