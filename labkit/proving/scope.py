"""Which checks a case has to be graded by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from labkit.execution import PlannedCheck

if TYPE_CHECKING:
    from labkit.proving.cases import Case


def claiming(mutant: str, checks: Iterable[PlannedCheck]) -> list[PlannedCheck]:
    return [check for check in checks if mutant in check.kills]


def needed_checks(case: Case, checks: Sequence[PlannedCheck]) -> tuple[PlannedCheck, ...]:
    """The checks that decide whether the case is as it must be, in their order; all, unless it is a mutant.

    A mutant falls, in a grading by all checks, exactly if it falls in one by these: they claim it, or can
    keep those that do from being run.
    """
    claims = claiming(case.name, checks) if case.kind == "mutant" else []
    if not claims:
        return tuple(checks)
    wanted = {check.id for check in checks if check.gate}
    following = {check.id: check.needs for check in checks}
    for claim in claims:
        id: str | None = claim.id
        while id is not None and id not in wanted:
            wanted.add(id)
            id = following.get(id)
    return tuple(check for check in checks if check.id in wanted)
