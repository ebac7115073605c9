"""What can be seen of a lab's grader without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from itertools import chain

from labkit.catalogue import Lab
from labkit.execution import PlannedCheck
from labkit.proving.judgement import Fault

FULL_MARKS = 100


def audit(lab: Lab, checks: Sequence[PlannedCheck]) -> list[Fault]:
    """Claims without mutants, mutants and checks without claims, points, empty texts."""
    return list(chain(_claims(lab, checks), _points(lab, checks), _texts(lab, checks), _hints(lab)))


def _claims(lab: Lab, checks: Sequence[PlannedCheck]) -> Iterator[Fault]:
    mutants = lab.mutants
    for check in checks:
        for name in check.kills:
            if name not in mutants:
                yield Fault(check.id, f"claims {name}, and there is no mutants/{name}.patch")
        if not check.kills:
            yield Fault(check.id, "claims no mutant: nothing shows that it can fail")
    claimed = {name for check in checks for name in check.kills}
    for name in mutants:
        if name not in claimed:
            yield Fault(name, "no check claims this mutant")


def _points(lab: Lab, checks: Sequence[PlannedCheck]) -> Iterator[Fault]:
    total = sum(check.points for check in checks)
    if total != FULL_MARKS:
        yield Fault(lab.slug, f"its points add up to {total}, not {FULL_MARKS}")


def _texts(lab: Lab, checks: Sequence[PlannedCheck]) -> Iterator[Fault]:
    for check in checks:
        if not check.title:
            yield Fault(check.id, "has no docstring: a learner reads it as the promise")
    for stage in lab.stages:
        if not stage.title.strip():
            yield Fault(f"stage {stage.name}", "has no title")
    if not lab.title.strip() or not lab.summary.strip():
        yield Fault(lab.slug, "has no title or no summary")
    if not lab.brief.is_file() or not lab.brief.read_text(encoding="utf-8").strip():
        yield Fault(lab.slug, f"{lab.brief.name} is missing or empty")


def _hints(lab: Lab) -> Iterator[Fault]:
    """Empty hints where they are written, since no case may ever earn them."""
    for path in sorted(lab.grader.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for keyword in (node for node in ast.walk(tree) if isinstance(node, ast.keyword)):
            if keyword.arg in ("hint", "hints") and any(map(_is_blank, _written(keyword.value))):
                yield Fault(f"{path.name}:{keyword.value.lineno}", "an empty hint")


def _written(value: ast.expr) -> list[ast.expr]:
    """The texts in `hint="..."`, `hints={value: "..."}` and `hints=[(predicate, "...")]`."""
    if isinstance(value, ast.Dict):
        return value.values
    if isinstance(value, ast.List | ast.Tuple):
        return [pair.elts[-1] for pair in value.elts if isinstance(pair, ast.Tuple) and pair.elts]
    return [value]


def _is_blank(text: ast.expr) -> bool:
    return isinstance(text, ast.Constant) and isinstance(text.value, str) and not text.value.strip()
