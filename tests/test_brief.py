"""The rate limiter's brief: its figures, the headings that checks point at, and what it repeats."""

from __future__ import annotations

import importlib.util
import re
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest

from labkit.catalogue import find_lab
from labkit.report.brief import section

LAB = find_lab("rate-limiter")
FIGURES = LAB.folder / "figures"
TEXT = LAB.brief.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def draw() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rate_limiter_figures", FIGURES / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by its name.
    with mock.patch.dict(sys.modules, {spec.name: module}):
        spec.loader.exec_module(module)
    return module


def test_the_figures_are_what_their_script_draws(draw: ModuleType) -> None:
    assert {path.name for path in FIGURES.glob("*.svg")} == set(draw.FIGURES)
    for name, figure in draw.FIGURES.items():
        assert (FIGURES / name).read_text(encoding="utf-8") == figure(), (
            f"{name} is stale: run {(FIGURES / 'draw.py').relative_to(LAB.folder.parent.parent)}"
        )


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


def test_every_heading_that_a_check_points_at_is_there() -> None:
    pointed = {
        match
        for path in LAB.grader.glob("*.py")
        for match in re.findall(r'reading="([^"]+)"', path.read_text(encoding="utf-8"))
    }

    assert pointed
    for heading in pointed:
        assert len(section(TEXT, heading).splitlines()) > 1, heading


def test_every_fact_of_the_lab_is_explained() -> None:
    facts = [*LAB.settings, *LAB.roles, *(stage.name for stage in LAB.stages)]
    facts += [word for option in LAB.options for word in (option.name, *option.values)]

    assert [fact for fact in facts if f"`{fact}`" not in TEXT and f"{fact} =" not in TEXT] == []


def test_links_within_the_repository_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https:)([^)#]+)\)", TEXT)

    assert targets
    assert [target for target in targets if not Path(LAB.folder, target).exists()] == []
