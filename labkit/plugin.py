"""The pytest plugin under `grade`: check functions are its items, a schedule of their own its loop."""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from labkit import judging
from labkit.catalogue import Lab
from labkit.checks import CheckFacts
from labkit.errors import LabkitError
from labkit.ground import Ground
from labkit.judging import Outcome
from labkit.result import CheckResult, Verdict
from labkit.schedule import Schedule

if TYPE_CHECKING:
    from labkit.execution import Watcher


@dataclass(frozen=True)
class PlannedCheck:
    """A check as `grade --list` shows it and `lab prove` knows it; see CheckFacts."""

    id: str
    stage: str
    title: str
    points: int
    kills: tuple[str, ...]
    arena: str
    gate: bool = False
    needs: str | None = None
    alone: bool = False


class CheckItem(pytest.Item):
    """One check of a lab."""

    def __init__(self, *, function: Any, facts: CheckFacts, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function = function
        self.planned = PlannedCheck(
            id=self.name.removeprefix("test_").replace("_", "-"),
            stage=self.path.stem.removeprefix("test_").replace("_", "-"),
            title=" ".join((inspect.getdoc(function) or "").split()),
            points=facts.points,
            kills=facts.kills,
            arena=facts.arena,
            gate=facts.gate,
            needs=facts.needs,
            alone=facts.alone,
        )

    def runtest(self) -> None:
        raise NotImplementedError("checks are run by GraderPlugin's own loop")

    def reportinfo(self) -> tuple[Any, int | None, str]:
        return self.path, inspect.getsourcelines(self.function)[1] - 1, self.planned.id


class GraderPlugin:
    """Collects one lab's checks and, unless it only collects, grades with them.

    results          a CheckResult for each check, in the lab's order
    critical_path_s  longest chain of start-up and checks that cannot overlap, in seconds
    own_faults       what went wrong in the kit itself, in words
    """

    def __init__(
        self,
        lab: Lab,
        *,
        ground: Ground | None = None,
        wanted: Sequence[str] | None = None,
        seed: int = 0,
        keep_going: bool = True,
        watcher: Watcher | None = None,
        collect_only: bool = False,
    ) -> None:
        self.lab = lab
        self.items: list[CheckItem] = []
        self.results: list[CheckResult] = []
        self.critical_path_s = 0.0
        self.own_faults: list[str] = []
        self.fault: LabkitError | None = None
        self._ground = ground
        self._wanted = wanted
        self._seed = seed
        self._keep_going = keep_going
        self._watcher = watcher
        self._collect_only = collect_only

    def pytest_pycollect_makeitem(self, collector: Any, name: str, obj: Any) -> CheckItem | None:
        facts = getattr(obj, "__check__", None)
        if facts is None:
            return None
        item: CheckItem = CheckItem.from_parent(collector, name=name, function=obj, facts=facts)
        return item

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        order = [stage.name for stage in self.lab.stages]
        checks = [item for item in items if isinstance(item, CheckItem)]
        if self._wanted is not None:
            checks = [item for item in checks if item.planned.id in self._wanted]
        checks.sort(key=lambda item: order.index(item.planned.stage))
        items[:] = checks
        self.items = checks

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            reason = report.longreprtext.strip().splitlines()[-1].removeprefix("E").strip()
            self.fault = LabkitError(f"{report.nodeid} cannot be read: {reason}")

    def pytest_unconfigure(self) -> None:
        """Forget the modules: pytest would take them for those of a copy of this lab, graded next."""
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if file is not None and Path(file).is_relative_to(self.lab.grader):
                del sys.modules[name]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if self._collect_only or session.testsfailed:
            return True
        assert self._ground is not None
        try:
            grading = Schedule(self, self._ground, self._load_bench())
        except LabkitError as error:
            self.fault = error
            return True
        try:
            for item, outcome in grading.outcomes():
                self._log(session, item, outcome)
        except LabkitError as error:
            self.fault = error
        self.results = [self._result(item, grading.done[item]) for item in self.items if item in grading.done]
        self.critical_path_s = grading.critical_path_s
        return True

    def _load_bench(self) -> ModuleType:
        try:
            return judging.load_bench(self.lab.grader)
        except Exception as error:
            path = self.lab.grader / "bench.py"
            raise LabkitError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error

    def started(self, item: CheckItem) -> None:
        if self._watcher is not None:
            self._watcher.started(item.planned.id)

    def chance_of(self, name: str) -> random.Random:
        """The random numbers of a check or an arena: the same for the same seed."""
        return random.Random(f"{self._seed}:{name}")  # noqa: S311 - not for secrets

    @property
    def keep_going(self) -> bool:
        return self._keep_going

    def _log(self, session: pytest.Session, item: CheckItem, outcome: Outcome) -> None:
        result = self._result(item, outcome)
        if outcome.own_fault is not None:
            self.own_faults.append(f"{item.planned.id}: {outcome.own_fault}")
        if self._watcher is not None:
            self._watcher.finished(result)
        report = judging.pytest_report(item, result, outcome)
        session.testsfailed += result.verdict is Verdict.FAILED
        session.config.hook.pytest_runtest_logreport(report=report)

    def _result(self, item: CheckItem, outcome: Outcome) -> CheckResult:
        planned = item.planned
        return CheckResult(
            id=planned.id,
            stage=planned.stage,
            title=planned.title,
            verdict=outcome.verdict,
            points=planned.points if outcome.verdict is Verdict.PASSED else 0,
            max_points=planned.points,
            duration_s=round(outcome.duration_s, 3),
            message=outcome.message,
            expected=outcome.expected,
            observed=outcome.observed,
            hint=outcome.hint,
            evidence=outcome.evidence,
            reading=outcome.reading,
            replay=f"grade {self.lab.slug} --only {planned.id} --seed {self._seed}",
        )
