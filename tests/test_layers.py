"""Imports point one way, and graders know only the names that are theirs to know."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import labkit

PACKAGE = Path(labkit.__file__).parent
GRADERS = PACKAGE.parent / "graders"
# Each layer may import from itself and from those below it.
LAYERS = [
    {"cli"},
    {"proving", "progress", "scaffold"},
    {"doctor", "report"},
    {"execution"},
    {"plugin", "schedule"},
    {"judging"},
    {"opening"},
    {"answers", "arena"},
    {"evidence"},
    {"ground"},
    {"isolation", "unconfined"},
    {"client", "faults", "history", "links", "outsiders", "processes", "relay", "services"},
    {"runtime"},
    {
        "dialogue",
        "groups",
        "jsonvalues",
        "kafkawire",
        "loop",
        "pgwire",
        "ports",
        "pulse",
        "resp",
        "run",
        "submission",
        "tansu",
        "topics",
        "traps",
    },
    {"catalogue", "checks", "clocks", "reaper"},
    {"result"},
    {"errors", "leaving"},
]
FOR_GRADERS = {"labkit", "labkit.history", "labkit.clocks"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def unit(module: str) -> str:
    """labkit.services.redis -> services"""
    return module.split(".")[1]


def imports(path: Path) -> Iterator[str]:
    """Modules of labkit that a file imports when it runs; imports for type checkers are none."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {inner for node in ast.walk(tree) if _for_types_only(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "labkit":
            names = [alias.name for alias in node.names]
            yield from (f"labkit.{name}" if node.module == "labkit" else node.module for name in names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("labkit."))


def _for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def layer(module: str) -> int:
    return next(number for number, units in enumerate(LAYERS) if unit(module) in units)


def test_every_module_has_its_layer():
    present = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES} - {"__init__"}

    assert present == set().union(*LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    if path == PACKAGE / "__init__.py":
        pytest.skip("the public names are taken from every layer")
    own = path.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", ".")

    upward = {module for module in imports(path) if layer(module) < layer(own)}

    assert not upward, f"{own} imports from layers above its own"


@pytest.mark.parametrize(
    "path", sorted(GRADERS.glob("*/*.py")), ids=lambda path: str(path.relative_to(GRADERS))
)
def test_graders_import_public_names_only(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    taken = [
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "labkit"
        for alias in node.names
    ]

    assert {module for module, _ in taken} <= FOR_GRADERS
    for module, name in taken:
        public = getattr(importlib.import_module(str(module)), "__all__", None)
        assert public is None or name in public, f"{name} is not public in {module}"


def test_the_public_names_are_there():
    assert all(hasattr(labkit, name) for name in labkit.__all__)
