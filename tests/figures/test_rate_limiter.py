"""What the rate limiter's figures show of the algorithms is what the brief says of them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest

FIGURES = Path("labs/rate_limiter/figures").resolve()


@pytest.fixture
def draw(drawing: Callable[[Path], ModuleType]) -> ModuleType:
    return drawing(FIGURES)


def most_within(admitted: list[Fraction], length: Fraction) -> int:
    """N(T) of a history whose decisions are known."""
    return max(sum(begin <= then < begin + length for then in admitted) for begin in admitted)


def test_the_drawn_algorithms_keep_the_laws_that_the_brief_states(draw: ModuleType) -> None:
    limit = draw.LIMIT
    for title, _, make in draw.PANELS:
        admitted = list(draw.simulate(title, "", make()).admitted)
        for length in (Fraction(1, 10), Fraction(1), Fraction(2)):
            whole = -(-length.numerator // length.denominator)
            smooth = int(limit * (1 + length)) + 1
            bound = {"fixed window": limit * (whole + 1), "sliding log": limit * whole}.get(title, smooth)
            assert limit <= most_within(admitted, length) <= bound, (title, length)


def test_only_the_fixed_window_doubles_a_burst(draw: ModuleType) -> None:
    """The picture shows what the text says of it."""
    bursts = {
        title: most_within(list(draw.simulate(title, "", make()).admitted), Fraction(1, 4))
        for title, _, make in draw.PANELS
    }

    assert bursts.pop("fixed window") == 2 * draw.LIMIT
    assert max(bursts.values()) <= draw.LIMIT + 3
