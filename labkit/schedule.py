"""Runs checks at the same time, each in its arena.

A grading is nearly all waiting, so each arena has a thread that opens it and runs its checks there:
side by side, or one after another where they break things. Outcomes come back through a queue, and
everything that pytest or a watcher is told comes from the thread that called pytest.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import ModuleType
from typing import TYPE_CHECKING, Any

from labkit import judging
from labkit.arena import Arena
from labkit.errors import LabkitError, SubmissionError
from labkit.ground import Ground, Setup, Stopped
from labkit.judging import Outcome
from labkit.opening import open_arena
from labkit.result import Verdict

if TYPE_CHECKING:
    from labkit.plugin import CheckItem, GraderPlugin

# A grading of which nothing is heard for so long, or whose checks go on for so long after its end, is
# stuck in code that heeds no stop. Far beyond anything that a lab waits for.
SILENCE_S = 900.0
CLOSING_S = 30.0


class Schedule:
    """Runs the plugin's items, each in its arena.

    done             item -> how it ended
    critical_path_s  longest chain of start-up and checks that cannot overlap, in seconds
    """

    def __init__(self, plugin: GraderPlugin, ground: Ground, bench: ModuleType) -> None:
        self.done: dict[CheckItem, Outcome] = {}
        self.critical_path_s = 0.0
        self._held: dict[CheckItem, Outcome] = {}
        self._opened = threading.Condition()
        self._open_arenas = 0
        self._arenas: list[Future[None]] = []
        self._running: set[str] = set()
        self._plugin = plugin
        self._ground = ground
        self._bench = bench
        self._events: queue.Queue[tuple[CheckItem | str, Any]] = queue.Queue()
        self._stages = [stage.name for stage in plugin.lab.stages]
        self._last_stage = len(self._stages)

    def outcomes(self) -> Iterator[tuple[CheckItem, Outcome]]:
        """Run everything; outcomes as they come. Raises LabkitError where the kit cannot go on."""
        arenas = self._by_arena()
        pool = ThreadPoolExecutor(max_workers=len(arenas) + 1, thread_name_prefix="arena")
        try:
            yield from self._set_up()
            for number, (name, items) in enumerate(arenas.items() if not self.done else ()):
                self._arenas.append(pool.submit(self._run_arena, name, items, first=number == 0))
            while len(self.done) < len(self._plugin.items):
                yield from self._take(*self._next_event())
        finally:
            self._ground.stopping.set()
            self._close(pool)

    def _next_event(self) -> tuple[CheckItem | str, Any]:
        try:
            return self._events.get(timeout=SILENCE_S)
        except queue.Empty:
            raise self._stuck() from None

    def _close(self, pool: ThreadPoolExecutor) -> None:
        """Wait for the arenas, but for no check that heeds no stop: only the process' end can end it."""
        wait(self._arenas, timeout=CLOSING_S)
        is_stuck = bool(self._running)
        pool.shutdown(wait=not is_stuck)
        if is_stuck:
            raise self._stuck()

    def _stuck(self) -> LabkitError:
        where = ", ".join(sorted(self._running)) or "the start of services and processes"
        return LabkitError(
            f"labkit itself is stuck in {where}, your work is not to blame",
            remedy="everything else is stopped; grade again, and report it if it gets stuck again",
        )

    def _by_arena(self) -> dict[str, list[CheckItem]]:
        arenas: dict[str, list[CheckItem]] = {}
        for item in self._plugin.items:
            arenas.setdefault(item.planned.arena, []).append(item)
        return arenas

    def _set_up(self) -> Iterator[tuple[CheckItem, Outcome]]:
        """Prepare the submission; a failure of that is the first check's."""
        try:
            self._ground.runtime.set_up(self._ground.submission)
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
        elif what not in self.done and what not in self._held:
            self._held[what] = news
            yield from self._give_out()

    def _give_out(self) -> Iterator[tuple[CheckItem, Outcome]]:
        """The outcomes that came, except those whose needed check is still open."""
        for item in [item for item in self._held if self._needed(item) in (None, *self.done)]:
            if item not in self._held:
                continue  # one given out before it has ended the grading
            outcome = self._held.pop(item)
            self.done[item] = outcome
            yield item, outcome
            if outcome.verdict is Verdict.FAILED or (
                item.planned.gate and outcome.verdict is not Verdict.PASSED
            ):
                yield from self._skip_dependents(item)
            yield from self._stop_after_stage(item, outcome)
        if any(self._needed(item) in self.done for item in self._held):
            yield from self._give_out()

    def _needed(self, item: CheckItem) -> CheckItem | None:
        return next((other for other in self._plugin.items if other.planned.id == item.planned.needs), None)

    def _skip_dependents(self, failed: CheckItem) -> Iterator[tuple[CheckItem, Outcome]]:
        why = f"{failed.planned.id} has to pass first"
        if failed.planned.gate:
            yield from self._give_up(self._pending(), why)
        else:
            yield from self._skip([item for item in self._pending() if self._needed(item) is failed], why)

    def _stop_after_stage(self, item: CheckItem, outcome: Outcome) -> Iterator[tuple[CheckItem, Outcome]]:
        """Unless told to keep going, leave out the stages after the first with a failure."""
        if self._plugin.keep_going:
            return
        if outcome.verdict is Verdict.FAILED:
            self._last_stage = min(self._last_stage, self._stages.index(item.planned.stage))
        pending = [item for item in self._plugin.items if item not in self.done]
        if not pending or any(self._stages.index(item.planned.stage) <= self._last_stage for item in pending):
            return
        yield from self._give_up(pending, f"the stage {self._stages[self._last_stage]} comes first")

    def _end_all(
        self, items: Sequence[CheckItem], error: SubmissionError
    ) -> Iterator[tuple[CheckItem, Outcome]]:
        """The submission does not start: that is its first open check's failure, and there is no more."""
        pending = self._pending()
        blamed = next(item for item in [*pending[:1], *items] if item not in self.done)
        self.done[blamed] = judging.does_not_start(error)
        yield blamed, self.done[blamed]
        yield from self._skip(
            [item for item in pending if item is not blamed], "the service has to start first"
        )

    def _pending(self) -> list[CheckItem]:
        return [item for item in self._plugin.items if item not in self.done]

    def _give_up(self, items: Sequence[CheckItem], why: str) -> Iterator[tuple[CheckItem, Outcome]]:
        self._ground.stopping.set()
        yield from self._skip(items, why)

    def _skip(self, items: Sequence[CheckItem], why: str) -> Iterator[tuple[CheckItem, Outcome]]:
        for item in items:
            self._held.pop(item, None)
            self.done[item] = Outcome(Verdict.SKIPPED, message=why)
            yield item, self.done[item]

    def _run_arena(self, name: str, items: Sequence[CheckItem], *, first: bool) -> None:
        try:
            setup: Setup = self._bench.ARENAS[name]
            chance = self._plugin.chance_of(name)
            with open_arena(self._ground, setup, chance=chance, first=first) as arena:
                ready = self._wait_for_all(len(self._by_arena()))
                chain = self._run_together(arena, name, [item for item in items if not _alone(item, setup)])
                chain += sum([self._run_check(arena, item) for item in items if _alone(item, setup)])
            self.critical_path_s = max(self.critical_path_s, ready + chain)
        except judging.LEAVING:
            pass
        except LabkitError as error:
            self._events.put((name, error))
        except BaseException as error:  # noqa: BLE001 - a thread's failure must reach the main thread
            self._events.put((name, LabkitError(f"the arena {name} broke down: {error!r}")))

    def _run_together(self, arena: Arena, name: str, items: Sequence[CheckItem]) -> float:
        """Run checks side by side; seconds that they take at least."""
        if not items:
            return 0.0
        width = min(arena.setup.width, len(items))
        with ThreadPoolExecutor(max_workers=width, thread_name_prefix=name) as pool:
            lengths = list(pool.map(lambda item: self._run_check(arena, item), items))
        return max(max(lengths), sum(lengths) / width)

    def _wait_for_all(self, arenas: int) -> float:
        """Begin no check before every arena is open: starting processes takes all processors."""
        with self._opened:
            self._open_arenas += 1
            self._opened.notify_all()
            while self._open_arenas < arenas:
                self._opened.wait(0.02)
                if self._ground.stopping.is_set():
                    raise Stopped
        return self._ground.run.clock()

    def _run_check(self, arena: Arena, item: CheckItem) -> float:
        """Run one check, unless there is no need any more; seconds that it took."""
        self._running.add(item.planned.id)
        try:
            if item in self.done or self._ground.stopping.is_set():
                return 0.0
            return self._judge(arena, item)
        finally:
            self._running.discard(item.planned.id)

    def _judge(self, arena: Arena, item: CheckItem) -> float:
        self._events.put((item, None))
        begin = self._ground.run.clock()
        chance = self._plugin.chance_of(item.planned.id)
        outcome = judging.outcome_of(
            item.function,
            lambda: self._bench.Bench(arena, chance),
            arena,
            heal=_alone(item, arena.setup),
        )
        if outcome is not None:
            self._events.put((item, outcome))
        return self._ground.run.clock() - begin


def _alone(item: CheckItem, setup: Setup) -> bool:
    return setup.exclusive or item.planned.alone
