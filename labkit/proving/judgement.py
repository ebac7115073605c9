"""What is wrong with how one case was graded. Nothing is run here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from labkit.execution import PlannedCheck
from labkit.proving.scope import claiming
from labkit.result import CheckResult, Result, Verdict

if TYPE_CHECKING:
    from labkit.proving.cases import Case


class Kind(StrEnum):
    """WRONG: the grader or a case is wrong. DOUBT: nothing was said. OWN: the kit itself broke."""

    WRONG = "wrong"
    DOUBT = "doubt"
    OWN = "own"


@dataclass(frozen=True)
class Fault:
    """One reason why a lab is not proven; `about` names the case, check or file."""

    about: str
    text: str
    kind: Kind = Kind.WRONG

    def __str__(self) -> str:
        return f"{self.about}: {self.text}"


@dataclass(frozen=True)
class Attempt:
    """One grading of a case.

    result     None where grading came to none
    unsound    why there was nothing to grade: a patch that does not apply
    broken     why the grading itself came to none
    left       processes that were still there afterwards
    faults     what is wrong with all this
    """

    case: Case
    result: Result | None
    unsound: str | None = None
    broken: str | None = None
    left: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def in_doubt(self) -> bool:
        """Asking once more may tell: all that is missing is a verdict."""
        return bool(self.faults) and all(fault.kind is Kind.DOUBT for fault in self.faults)


def faults_in(attempt: Attempt, checks: Sequence[PlannedCheck]) -> Iterator[Fault]:
    """Everything that is not as it must be with this case."""
    case, result = attempt.case, attempt.result
    if attempt.left:
        yield Fault(case.title, f"left running: {', '.join(attempt.left)}")
    if attempt.unsound:
        yield Fault(case.title, attempt.unsound)
        return
    if result is None:
        yield Fault(case.title, attempt.broken or "came to no result", Kind.OWN)
        return
    if result.verdict is Verdict.ERROR:
        doubts = [check for check in result.checks if check.verdict is Verdict.INCONCLUSIVE]
        broke = "; ".join(f"{check.id}: {check.message}" for check in doubts)
        yield Fault(case.title, f"the grader broke: {broke} (seed {result.seed})", Kind.OWN)
        return
    judge = {"template": _of_template, "reference": _of_reference, "mutant": _of_mutant}[case.kind]
    for fault in judge(case, result, checks):
        yield Fault(fault.about, f"{fault.text} (seed {result.seed})", fault.kind)
    yield from _mute(case, result)


def _of_template(case: Case, result: Result, checks: Sequence[PlannedCheck]) -> Iterator[Fault]:  # noqa: ARG001
    if result.verdict is not Verdict.FAILED:
        yield Fault(case.title, f"must fail, and {result.verdict}")
    if not any(check.hint for check in result.checks):
        yield Fault(case.title, "no failing check hints at what to do first")


def _of_reference(case: Case, result: Result, checks: Sequence[PlannedCheck]) -> Iterator[Fault]:
    for check in result.checks:
        if check.verdict is not Verdict.PASSED:
            yield Fault(case.title, _said(check), _kind(check, result, checks))
    if missing := len(checks) - len(result.checks):
        yield Fault(case.title, f"{missing} checks were not run", Kind.OWN)


def _of_mutant(case: Case, result: Result, checks: Sequence[PlannedCheck]) -> Iterator[Fault]:
    claims = claiming(case.name, checks)
    verdicts = {check.id: check for check in result.checks}
    for claim in claims:
        found = verdicts[claim.id]
        kind = _kind(found, result, checks)
        if kind is Kind.DOUBT:
            yield Fault(case.title, _said(found), kind)
        elif found.verdict is not Verdict.FAILED:
            yield Fault(case.title, f"survives {claim.id}, which claims it: {_said(found)}")
    disturbs = case.mutant.disturbs if case.mutant else ()
    for check in _earlier_than(claims, checks, result):
        if check.stage not in disturbs:
            said = _said(verdicts[check.id])
            yield Fault(case.title, f"falls to {check.stage}/{said}, of a stage before the mistake's")


def _kind(check: CheckResult, result: Result, checks: Sequence[PlannedCheck]) -> Kind:
    """What it is if this check has not come to the verdict that it must. A gate in doubt skips all others."""
    gates = {planned.id for planned in checks if planned.gate}
    closed = any(gate.id in gates and gate.verdict is Verdict.INCONCLUSIVE for gate in result.checks)
    doubt = check.verdict is Verdict.INCONCLUSIVE or (closed and check.verdict is Verdict.SKIPPED)
    return Kind.DOUBT if doubt else Kind.WRONG


def _earlier_than(
    claims: Sequence[PlannedCheck], checks: Sequence[PlannedCheck], result: Result
) -> list[PlannedCheck]:
    """Checks that failed though their stage comes before those of all checks that claim the mutant.

    `checks` are in the order of the stages.
    """
    if not claims:
        return []
    stages = list(dict.fromkeys(check.stage for check in checks))
    first = min(stages.index(claim.stage) for claim in claims)
    failed = {check.id for check in result.checks if check.verdict is Verdict.FAILED}
    return [check for check in checks if check.id in failed and stages.index(check.stage) < first]


def _mute(case: Case, result: Result) -> Iterator[Fault]:
    """A failing check says what to do, or at least what was expected and what came."""
    for check in result.checks:
        if check.verdict is Verdict.FAILED and not (check.hint or (check.expected and check.observed)):
            yield Fault(case.title, f"{check.id} fails it without a word of help")
        if check.hint is not None and not check.hint.strip():
            yield Fault(case.title, f"{check.id} has an empty hint")


def _said(check: CheckResult) -> str:
    return f"{check.id} {check.verdict}" + (f": {check.message}" if check.message else "")
