"""`lab prove`: the graders are graded, with submissions of which it is known how they must end.

The untouched template fails and is told why, each reference passes all, each mutant falls to every
check that claims it. A whole proof also grades mutants by the checks that do not claim them: those of
stages before the mistake's must not fall. Services are embedded ones: the same anywhere, and quickest
to start.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from labkit.catalogue import Lab, find_lab
from labkit.errors import UnknownName
from labkit.execution import PlannedCheck, planned_checks
from labkit.proving.audit import audit
from labkit.proving.cases import Case, cases_of
from labkit.proving.gradings import Gradings
from labkit.proving.judgement import Attempt, Fault, Kind
from labkit.proving.matrix import Proof
from labkit.proving.scope import needed_checks
from labkit.report import open_console
from labkit.report.console import Console

__all__ = ["prove", "prove_command"]

PROVEN, NOT_PROVEN, OWN_FAULT = 0, 1, 3


@dataclass(frozen=True)
class _Plan:
    lab: Lab
    checks: tuple[PlannedCheck, ...]
    cases: tuple[Case, ...]
    faults: tuple[Fault, ...]


def prove_command(
    lab_slugs: Sequence[str],
    *,
    mutant: str | None = None,
    whole: bool = False,
    repeat: int = 1,
    jobs: int | None = None,
) -> int:
    """Prove the graders of these labs, or only that one mutant falls; returns the exit code.

    `whole` grades mutants by all checks. `repeat` gradings of each case, `jobs` of them side by side
    (default: as many as processors; twice as many if not `whole`, as most of the time mutants wait).
    0 proven, 1 not, 3 a fault of the kit's own. Raises UnknownName for a lab or mutant.
    """
    labs = [find_lab(slug) for slug in lab_slugs]
    jobs = jobs or (os.cpu_count() or 1) * (1 if whole else 2)
    return prove(labs, mutant=mutant, whole=whole, repeat=repeat, jobs=jobs, console=open_console())


def prove(
    labs: Sequence[Lab], *, mutant: str | None, whole: bool, repeat: int, jobs: int, console: Console
) -> int:
    """`prove_command` for labs that need not be in the catalogue."""
    plans = [_plan(lab) for lab in labs]
    if mutant is not None:
        plans = _only(plans, mutant)
    with Gradings.open(jobs=jobs) as gradings:
        proofs = [_prove(plan, gradings, whole=whole, repeat=repeat, console=console) for plan in plans]
    faults = [fault for proof in proofs for fault in proof.faults]
    if any(fault.kind is Kind.OWN for fault in faults):
        return OWN_FAULT
    return NOT_PROVEN if faults else PROVEN


def _plan(lab: Lab) -> _Plan:
    checks = planned_checks(lab)
    cases, faults = cases_of(lab)
    return _Plan(lab, checks, cases, (*faults, *audit(lab, checks)))


def _only(plans: Sequence[_Plan], mutant: str) -> list[_Plan]:
    """The plans that have this mutant, cut down to it. Raises UnknownName."""
    chosen = []
    for plan in plans:
        cases = tuple(case for case in plan.cases if case.mutant and case.mutant.name == mutant)
        faults = tuple(fault for fault in plan.faults if fault.about == mutant)
        if cases or faults:
            chosen.append(_Plan(plan.lab, plan.checks, cases, faults))
    if not chosen:
        raise UnknownName("mutant", mutant, [name for plan in plans for name in plan.lab.mutants])
    return chosen


def _prove(plan: _Plan, gradings: Gradings, *, whole: bool, repeat: int, console: Console) -> Proof:
    proof = Proof(plan.lab, plan.checks, plan.cases, whole=whole, repeat=repeat, console=console)
    proof.begin(plan.faults, jobs=gradings.jobs)

    def grade(case: Case) -> list[Attempt]:
        return gradings.grade(case, plan.checks if whole else needed_checks(case, plan.checks))

    for cases in _batches(list(plan.cases) * repeat, whole=whole):
        for attempts in gradings.side_by_side(grade, cases):
            proof.add(attempts)
    proof.end()
    return proof


def _batches(cases: Sequence[Case], *, whole: bool) -> list[Sequence[Case]]:
    """What is graded side by side: mutants, unless it is by all checks, keep no processor busy for long."""
    if whole:
        return [cases]
    alone = [[case] for case in cases if case.kind != "mutant"]
    return [*alone, [case for case in cases if case.kind == "mutant"]]
