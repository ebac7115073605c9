"""Each lab's brief: its figures, the headings that checks point at, what it repeats, and its openapi.yaml."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from labkit.catalogue import Lab, labs
from labkit.report.brief import section

BY_SLUG = dict(labs())


@pytest.fixture(params=BY_SLUG)
def lab(request: pytest.FixtureRequest) -> Lab:
    return BY_SLUG[request.param]


@pytest.fixture
def text(lab: Lab) -> str:
    return lab.brief.read_text(encoding="utf-8")


@pytest.fixture
def api(lab: Lab) -> dict[str, Any]:
    return dict(yaml.safe_load((lab.folder / "openapi.yaml").read_text(encoding="utf-8")))


def test_the_figures_are_what_their_script_draws(lab: Lab, drawing: Callable[[Path], ModuleType]) -> None:
    figures = lab.folder / "figures"
    draw = drawing(figures)

    assert {path.name for path in figures.glob("*.svg")} == set(draw.FIGURES)
    for name, figure in draw.FIGURES.items():
        assert (figures / name).read_text(encoding="utf-8") == figure(), (
            f"{name} is stale: run {(figures / 'draw.py').relative_to(lab.folder.parent.parent)}"
        )


def test_every_figure_is_shown(lab: Lab, text: str) -> None:
    shown = re.findall(r"!\[[^\]]+\]\(figures/([\w-]+\.svg)\)", text)

    assert sorted(shown) == sorted(path.name for path in (lab.folder / "figures").glob("*.svg"))


def test_every_heading_that_a_check_points_at_is_there(lab: Lab, text: str) -> None:
    pointed = {
        match
        for path in lab.grader.glob("*.py")
        for match in re.findall(r'reading="([^"]+)"', path.read_text(encoding="utf-8"))
    }

    assert pointed
    for heading in pointed:
        assert len(section(text, heading).splitlines()) > 1, heading


def test_every_fact_of_the_lab_is_explained(lab: Lab, text: str) -> None:
    facts = [*lab.settings, *lab.roles, *(stage.name for stage in lab.stages)]
    facts += [word for option in lab.options for word in (option.name, *option.values)]

    assert [fact for fact in facts if f"`{fact}`" not in text and f"{fact} =" not in text] == []


def test_links_within_the_repository_lead_somewhere(lab: Lab, text: str) -> None:
    targets = re.findall(r"\]\((?!https:)([^)#]+)\)", text)

    assert targets
    assert [target for target in targets if not Path(lab.folder, target).exists()] == []


def test_every_path_of_the_api_is_told(api: dict[str, Any], text: str) -> None:
    assert api["openapi"].startswith("3.1.")
    assert [path for path in api["paths"] if path not in text] == []


def test_every_component_of_the_api_is_used_and_none_is_missing(api: dict[str, Any]) -> None:
    # A security scheme is named, not referred to.
    made = {
        f"#/components/{kind}/{name}"
        for kind, named in api["components"].items()
        if kind != "securitySchemes"
        for name in named
    }

    assert {found["$ref"] for found in objects(api) if "$ref" in found} == made


def test_operations_of_the_api_have_names_of_their_own(api: dict[str, Any]) -> None:
    names = [found["operationId"] for found in objects(api["paths"]) if "operationId" in found]

    assert len(set(names)) == len(names) > 0


def test_errors_of_the_api_are_problem_documents(api: dict[str, Any]) -> None:
    answers = [
        (status, answer)
        for found in objects(api["paths"])
        for status, answer in found.get("responses", {}).items()
    ]

    for status, answer in answers:
        if int(status) >= 400:
            described = api["components"]["responses"][answer["$ref"].rpartition("/")[2]]
            assert set(described["content"]) == {"application/problem+json"}, described


def objects(tree: Any) -> Iterator[dict[str, Any]]:
    """All objects in a tree of JSON, itself included."""
    if isinstance(tree, dict):
        yield tree
    for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from objects(part)
