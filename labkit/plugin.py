"""The pytest plugin under `grade`: check functions are items, and they run at the same time.

A grading is nearly all waiting, so each arena has a thread that opens it and runs its checks there:
side by side, or one after another where they break things. Outcomes come back through a queue, and
everything that pytest or a watcher is told comes from the thread that called pytest.
"""

from __future__ import annotations

import inspect
import queue
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from labkit import judging
from labkit.arena import Arena, Ground, Setup, open_arena
from labkit.catalogue import Lab
from labkit.checks import CheckFacts
from labkit.errors import LabkitError, SubmissionError
from labkit.judging import Outcome
from labkit.processes import Command, run_to_end
from labkit.result import CheckResult, Verdict

if TYPE_CHECKING:
    from labkit.execution import Watcher


@dataclass(frozen=True)
class PlannedCheck:
    """A check as `grade --list` shows it; see CheckFacts."""

    id: str
    stage: str
    title: str
    points: int
    kills: tuple[str, ...]
    arena: str


class CheckItem(pytest.Item):
    """One check of a lab."""

    def __init__(self, *, function: Any, facts: CheckFacts, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function = function
        self.planned = PlannedCheck(
            id=self.name.removeprefix("test_").replace("_", "-"),
            stage=self.path.stem.removeprefix("test_"),
            title=" ".join((inspect.getdoc(function) or "").split()),
            points=facts.points,
            kills=facts.kills,
            arena=facts.arena,
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

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if self._collect_only or session.testsfailed:
            return True
        assert self._ground is not None
        grading = _Grading(self, self._ground, bench_of(self.lab))
        try:
            for item, outcome in grading.outcomes():
                self._log(session, item, outcome)
        except LabkitError as error:
            self.fault = error
        self.results = [self._result(item, grading.done[item]) for item in self.items if item in grading.done]
        self.critical_path_s = grading.critical_path_s
        return True

    def started(self, item: CheckItem) -> None:
        if self._watcher is not None:
            self._watcher.started(item.planned.id)

    def seed_of(self, item: CheckItem) -> random.Random:
        return random.Random(f"{self._seed}:{item.planned.id}")  # noqa: S311 - not for secrets

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


class _Grading:
    """The loop: one thread for each arena, one more for each check in it."""

    def __init__(self, plugin: GraderPlugin, ground: Ground, bench: ModuleType) -> None:
        self.done: dict[CheckItem, Outcome] = {}
        self.critical_path_s = 0.0
        self._plugin = plugin
        self._ground = ground
        self._bench = bench
        self._events: queue.Queue[tuple[CheckItem | str, Any]] = queue.Queue()
        self._stages = [stage.name for stage in plugin.lab.stages]
        self._last_stage = len(self._stages)

    def outcomes(self) -> Iterator[tuple[CheckItem, Outcome]]:
        """Run everything; outcomes as they come. Raises LabkitError where the kit cannot go on."""
        arenas = self._by_arena()
        with ThreadPoolExecutor(max_workers=len(arenas) + 1, thread_name_prefix="arena") as pool:
            try:
                yield from self._set_up()
                for name, items in arenas.items() if not self.done else ():
                    pool.submit(self._run_arena, name, items)
                while len(self.done) < len(self._plugin.items):
                    yield from self._take(*self._events.get())
            finally:
                self._ground.stopping.set()

    def _by_arena(self) -> dict[str, list[CheckItem]]:
        arenas: dict[str, list[CheckItem]] = {}
        for item in self._plugin.items:
            arenas.setdefault(item.planned.arena, []).append(item)
        return arenas

    def _set_up(self) -> Iterator[tuple[CheckItem, Outcome]]:
        """Run the submission's setup command, if it has one; its failure is the first check's."""
        submission = self._ground.submission
        if not submission.setup:
            return
        try:
            run_to_end(
                self._ground.run, Command("setup", submission.setup, submission.folder, judging.outer_env())
            )
        except SubmissionError as error:
            yield from self._end_all(self._plugin.items, error)

    def _take(self, what: CheckItem | str, news: Any) -> Iterator[tuple[CheckItem, Outcome]]:
        """One event of a thread: a check started or ended, or an arena could not be opened."""
        if isinstance(what, str):
            if not isinstance(news, SubmissionError):
                raise news
            yield from self._end_all(
                [item for item in self._plugin.items if item.planned.arena == what], news
            )
        elif news is None:
            self._plugin.started(what)
        elif what not in self.done:
            self.done[what] = news
            yield what, news
            yield from self._stop_after_stage(what, news)

    def _stop_after_stage(self, item: CheckItem, outcome: Outcome) -> Iterator[tuple[CheckItem, Outcome]]:
        """Unless told to keep going, leave out the stages after the first with a failure."""
        if self._plugin.keep_going:
            return
        if outcome.verdict is Verdict.FAILED:
            self._last_stage = min(self._last_stage, self._stages.index(item.planned.stage))
        pending = [item for item in self._plugin.items if item not in self.done]
        if not pending or any(self._stages.index(item.planned.stage) <= self._last_stage for item in pending):
            return
        yield from self._skip(pending, f"the stage {self._stages[self._last_stage]} comes first")

    def _end_all(
        self, items: Sequence[CheckItem], error: SubmissionError
    ) -> Iterator[tuple[CheckItem, Outcome]]:
        """The submission does not start: that is its first open check's failure, and there is no more."""
        pending = [item for item in self._plugin.items if item not in self.done]
        blamed = next(item for item in [*pending[:1], *items] if item not in self.done)
        self.done[blamed] = judging.does_not_start(error)
        yield blamed, self.done[blamed]
        yield from self._skip(
            [item for item in pending if item is not blamed], "the service has to start first"
        )

    def _skip(self, items: Sequence[CheckItem], why: str) -> Iterator[tuple[CheckItem, Outcome]]:
        self._ground.stopping.set()
        for item in items:
            self.done[item] = Outcome(Verdict.SKIPPED, message=why)
            yield item, self.done[item]

    def _run_arena(self, name: str, items: Sequence[CheckItem]) -> None:
        setup: Setup = self._bench.ARENAS[name]
        try:
            with open_arena(self._ground, setup) as arena:
                ready = self._ground.run.clock()
                work = len(items) if not setup.exclusive else 1
                with ThreadPoolExecutor(max_workers=work, thread_name_prefix=name) as pool:
                    lengths = list(pool.map(lambda item: self._run_check(arena, item), items))
            chain = sum(lengths) if setup.exclusive else max(lengths)
            self.critical_path_s = max(self.critical_path_s, ready + chain)
        except judging.LEAVING:
            pass
        except LabkitError as error:
            self._events.put((name, error))
        except BaseException as error:  # noqa: BLE001 - a thread's failure must reach the main thread
            self._events.put((name, LabkitError(f"the arena {name} broke down: {error!r}")))

    def _run_check(self, arena: Arena, item: CheckItem) -> float:
        """Run one check; seconds that it took."""
        self._events.put((item, None))
        begin = self._ground.run.clock()
        bench = self._bench.Bench(arena, self._plugin.seed_of(item))
        outcome = judging.outcome_of(item.function, bench, arena)
        if outcome is not None:
            self._events.put((item, outcome))
        return self._ground.run.clock() - begin


def bench_of(lab: Lab) -> ModuleType:
    """The lab's bench module: `ARENAS` (name -> Setup) and `Bench`."""
    return judging.load_module(lab.grader / "bench.py", name=f"labkit_bench_{lab.name}")
