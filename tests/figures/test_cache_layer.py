"""What the cache layer's figures show of the races is what the brief says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

FIGURES = Path("labs/cache_layer/figures").resolve()
# Race -> whether version 1 is cached when it begins, and which request is shown too old a version.
RACES = {
    "LATE_FILL": (False, {2}),
    "EARLY_DROP": (True, {2}),
    "IN_ORDER": (True, set()),
    "OUT_OF_ORDER": (True, {2}),
    "JOINED": (False, {2}),
}


@pytest.fixture
def draw(drawing: Callable[[Path], ModuleType]) -> ModuleType:
    return drawing(FIGURES)


@pytest.mark.parametrize("name", RACES)
def test_each_race_ends_as_the_brief_tells(draw: ModuleType, name: str) -> None:
    cached, stale = RACES[name]

    assert draw.play(getattr(draw, name), cached=cached).stale == stale


@pytest.mark.parametrize("name", RACES)
def test_steps_lie_within_their_requests_and_in_order(draw: ModuleType, name: str) -> None:
    for request in getattr(draw, name):
        times = [request.sent]
        for step in request.steps:
            times += [step.at, max(step.at, step.until)]
        assert times == sorted(times)
        assert times[-1] < request.answered <= draw.SPAN


@pytest.mark.parametrize("name", ["LATE_FILL", "EARLY_DROP"])
def test_without_the_fill_nobody_is_shown_too_old_a_version(draw: ModuleType, name: str) -> None:
    cached, _ = RACES[name]
    race = [
        replace(request, steps=tuple(step for step in request.steps if step.does not in ("set", "look")))
        for request in getattr(draw, name)[:2]
    ]
    later = getattr(draw, name)[2]
    race.append(replace(later, steps=(replace(later.steps[0], does="select"),)))

    assert draw.play(race, cached=cached).stale == set()


def test_a_load_that_is_joined_leaves_the_cache_alone(draw: ModuleType) -> None:
    assert {version for _, version in draw.play(draw.JOINED, cached=False).cache} == {None}


def test_the_stampede_is_drawn_as_it_is_counted(draw: ModuleType) -> None:
    apart, together = (draw.loads(draw.ARRIVALS, shared=shared) for shared in (False, True))

    assert [asks for _, _, asks in apart] == [True] * len(draw.ARRIVALS)
    assert [asks for _, _, asks in together] == [True] + [False] * (len(draw.ARRIVALS) - 1)
    assert max(answered for _, answered, _ in together) <= max(answered for _, answered, _ in apart)
