"""Progress while a grading runs: a live list of checks on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.text import Text

from labkit.report.console import Console
from labkit.report.untrusted import one_line
from labkit.result import CheckResult, Verdict

if TYPE_CHECKING:
    from labkit.execution import PlannedCheck, Watcher

_FRAMES_PER_SECOND = 8


@contextmanager
def watching(console: Console, *, seed: int) -> Iterator[Watcher]:
    """A watcher for one grading, of the kind that suits the console."""
    if not console.live:
        yield PlainProgress(console, seed=seed)
        return
    progress = LiveProgress(console, seed=seed)
    with Live(
        console=console, get_renderable=progress.draw, refresh_per_second=_FRAMES_PER_SECOND, transient=True
    ):
        yield progress


class PlainProgress:
    """One line for each thing that happens. Called from any thread."""

    def __init__(self, console: Console, *, seed: int) -> None:
        self._console = console
        self._seed = seed

    def planned(self, checks: Sequence[PlannedCheck]) -> None:
        count = "1 check" if len(checks) == 1 else f"{len(checks)} checks"
        self._console.print(f"{count}, seed {self._seed}")

    def note(self, text: str) -> None:
        self._console.print(Text(one_line(text)))

    def started(self, id: str) -> None:
        """Nothing is said: the line follows when the check has ended."""

    def finished(self, check: CheckResult) -> None:
        if check.verdict is Verdict.SKIPPED:
            return
        verdict = Text(f"{self._console.symbols.of(check.verdict)} {check.verdict}", check.verdict.value)
        self._console.print(Text.assemble(verdict, f"  {check.stage}/{check.id}  {check.duration_s:.1f} s"))


class LiveProgress:
    """The list of checks as it stands; `draw` renders it, fitted into the terminal's height."""

    def __init__(self, console: Console, *, seed: int) -> None:
        self._console = console
        self._seed = seed
        self._lock = threading.Lock()
        self._notes: list[str] = []
        self._checks: tuple[PlannedCheck, ...] = ()
        self._begun: dict[str, float] = {}
        self._ended: dict[str, CheckResult] = {}
        self._opened = time.monotonic()

    def planned(self, checks: Sequence[PlannedCheck]) -> None:
        with self._lock:
            self._checks = tuple(checks)

    def note(self, text: str) -> None:
        with self._lock:
            self._notes.append(one_line(text))

    def started(self, id: str) -> None:
        with self._lock:
            self._begun[id] = time.monotonic()

    def finished(self, check: CheckResult) -> None:
        with self._lock:
            self._ended[check.id] = check

    def draw(self) -> Group:
        with self._lock:
            head = [
                Text(note, "faint", no_wrap=True, overflow=self._console.overflow) for note in self._notes
            ]
            foot = [self._foot()]
            room = self._console.height - len(head) - len(foot) - 1
            body = self._every_check()
            if len(body) > room:
                body = self._every_stage()
            return Group(*head, *body[: max(room, 0)], *foot)

    def _every_check(self) -> list[Text]:
        body = []
        for stage, members in groupby(self._checks, key=lambda check: check.stage):
            body.append(Text(stage, "strong"))
            body.extend(self._check_line(check) for check in members)
        return body

    def _every_stage(self) -> list[Text]:
        """One line a stage, a symbol a check; what runs and what failed is named below."""
        body = []
        for stage, members in groupby(self._checks, key=lambda check: check.stage):
            symbols = [self._symbol(check.id) for check in members]
            body.append(Text.assemble((f"{stage:<12}", "strong"), *symbols))
        named = [check for check in self._checks if check.id in self._begun and not self._passed(check.id)]
        return body + [self._check_line(check) for check in named]

    def _check_line(self, check: PlannedCheck) -> Text:
        waiting = check.id not in self._begun and check.id not in self._ended
        line = Text.assemble("  ", self._symbol(check.id), (f" {check.id}", "faint" if waiting else ""))
        line.append(self._time(check.id), "faint")
        line.no_wrap, line.overflow = True, self._console.overflow
        return line

    def _symbol(self, id: str) -> tuple[str, str]:
        symbols = self._console.symbols
        if id in self._ended:
            verdict = self._ended[id].verdict
            return symbols.of(verdict), verdict.value
        if id in self._begun:
            return self._spinner(), "command"
        return symbols.waiting, "faint"

    def _spinner(self) -> str:
        frames = self._console.symbols.running
        return frames[int((time.monotonic() - self._opened) * _FRAMES_PER_SECOND) % len(frames)]

    def _time(self, id: str) -> str:
        if id in self._ended:
            ended = self._ended[id]
            return "" if ended.verdict is Verdict.SKIPPED else f"  {ended.duration_s:.1f} s"
        if id in self._begun:
            return f"  {time.monotonic() - self._begun[id]:.0f} s"
        return ""

    def _passed(self, id: str) -> bool:
        return id in self._ended and self._ended[id].verdict is Verdict.PASSED

    def _foot(self) -> Text:
        elapsed = time.monotonic() - self._opened
        facts = [f"{elapsed:.0f} s", f"seed {self._seed}"]
        if self._checks:
            verdicts = Counter(check.verdict for check in self._ended.values())
            closing = ", closing everything" if len(self._ended) == len(self._checks) else ""
            facts = [f"{len(self._ended)} of {len(self._checks)} checks done{closing}", *facts]
            facts += [f"{verdicts[Verdict.FAILED]} failed"] if verdicts[Verdict.FAILED] else []
        else:
            facts = [f"{self._spinner()} getting ready", *facts]
        return Text(f" {self._console.symbols.dot} ".join(facts), "faint")
