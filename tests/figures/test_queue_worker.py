"""What the queue worker's figures show of offsets and deliveries is what the brief says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

FIGURES = Path("labs/queue_worker/figures").resolve()
# Story -> which jobs are lost, and how often the sink sees those that it sees more than once.
STORIES = {
    "COMMIT_FIRST": ({7}, {}),
    "WORK_FIRST": (set(), {7: 2}),
    "ZOMBIE": (set(), {7: 2, 8: 2}),
}


@pytest.fixture
def draw(drawing: Callable[[Path], ModuleType]) -> ModuleType:
    return drawing(FIGURES)


@pytest.mark.parametrize("name", STORIES)
def test_each_story_ends_as_the_brief_tells(draw: ModuleType, name: str) -> None:
    outcome = draw.play(getattr(draw, name), first=7, records=2)

    assert (outcome.lost, outcome.repeated) == STORIES[name]


@pytest.mark.parametrize("name", STORIES)
def test_a_workers_steps_are_in_order_and_none_happens_while_it_is_frozen(
    draw: ModuleType, name: str
) -> None:
    for worker in getattr(draw, name):
        times = [moment for step in worker.steps for moment in (step.at, max(step.at, step.until))]
        assert times == sorted(times)
        assert times[-1] <= draw.SPAN
        begin, end = worker.frozen or (0, 0)
        assert not any(begin <= step.at < end for step in worker.steps)


@pytest.mark.parametrize("name", STORIES)
def test_no_story_moves_the_committed_offset_back(draw: ModuleType, name: str) -> None:
    offsets = [offset for _, offset in draw.play(getattr(draw, name), first=7, records=2).committed]

    assert offsets == sorted(offsets)


def test_a_worker_that_drops_what_it_lost_repeats_only_what_was_under_way(draw: ModuleType) -> None:
    frozen, other = draw.ZOMBIE

    outcome = draw.play([replace(frozen, steps=frozen.steps[:2]), other], first=7, records=2)

    assert outcome.repeated == {7: 2}


def test_the_watermark_never_passes_a_job_that_runs_and_the_latest_does(draw: ModuleType) -> None:
    runs = draw.side_by_side(draw.TOOK, slots=draw.SLOTS)

    assert {draw._kind(runs, at, offset) for at, offset in draw.watermark(runs)} == {"area"}
    assert "over" in {draw._kind(runs, at, offset) for at, offset in draw.latest_finished(runs)}
    assert draw.watermark(runs)[-1] == (max(run.ended for run in runs), runs[-1].offset + 1)


def test_no_more_than_the_slots_run_at_once(draw: ModuleType) -> None:
    runs = draw.side_by_side(draw.TOOK, slots=draw.SLOTS)

    most = max(sum(one.begun <= run.begun < one.ended for one in runs) for run in runs)
    assert most == draw.SLOTS


@pytest.mark.parametrize("aside", [False, True])
def test_the_waits_are_as_long_and_one_slot_does_one_thing_at_a_time(draw: ModuleType, aside: bool) -> None:
    attempts = draw.waiting(aside=aside)

    assert [one.failed for one in attempts if one.key == "a"] == [True, True, False]
    gaps = [
        after.begun - before.ended for before, after in pairwise(one for one in attempts if one.key == "a")
    ]
    assert all(gap > wait - 0.001 for gap, wait in zip(gaps, (2, 4), strict=True))
    assert len(attempts) == 7
    assert all(before.ended <= after.begun for before, after in pairwise(attempts))


def test_waiting_aside_is_what_lets_the_other_keys_go_on(draw: ModuleType) -> None:
    last_of_others = {
        aside: max(one.ended for one in draw.waiting(aside=aside) if one.key != "a")
        for aside in (False, True)
    }
    second_of_a = next(one for one in draw.waiting(aside=True) if one.key == "a" and one.begun > 1)

    assert last_of_others[True] <= second_of_a.begun < last_of_others[False]
