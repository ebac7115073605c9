"""What a proof prints: each case as it ends, then the kill matrix, the rates and the faults."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from labkit.catalogue import Lab
from labkit.execution import PlannedCheck
from labkit.proving.cases import Case
from labkit.proving.judgement import Attempt, Fault
from labkit.proving.scope import claiming
from labkit.report.console import Console
from labkit.report.untrusted import lines, one_line
from labkit.result import Verdict

_MOST_OTHERS = 3


class Proof:
    """Everything known about one lab so far, and its printing."""

    def __init__(
        self,
        lab: Lab,
        checks: Sequence[PlannedCheck],
        cases: Sequence[Case],
        *,
        whole: bool,
        repeat: int,
        console: Console,
    ) -> None:
        self.faults: list[Fault] = []
        self._lab = lab
        self._checks = checks
        self._cases = cases
        self._whole = whole
        self._repeat = repeat
        self._console = console
        self._attempts: list[Attempt] = []
        self._ended = 0
        self._began = time.monotonic()

    def begin(self, faults: Sequence[Fault], *, jobs: int) -> None:
        """Say what is going to be done; `faults` were seen before anything was run."""
        self.faults += faults
        kinds = Counter(case.kind for case in self._cases)
        parts = [f"{count} {kind}{'s' * (count > 1)}" for kind, count in kinds.items()]
        if self._repeat > 1:
            parts.append(f"{self._repeat} times each")
        points = sum(check.points for check in self._checks)
        facts = f"{len(self._checks)} checks, {points} points; {', '.join(parts)}"
        self._console.print(Text.assemble((self._lab.slug, "strong"), f"  {facts}"))
        self._console.print(Text(f"{self._scope}\n{jobs} side by side, on embedded services\n", "faint"))
        for fault in faults:
            about = (one_line(fault.about), "strong")
            text = Text.assemble(self._symbol(False), " ", about, f"  {lines(fault.text)}")
            self._console.print(text, soft_wrap=True)

    @property
    def _scope(self) -> str:
        if self._whole:
            return "all graded by all checks"
        return "mutants graded only by the checks that claim them, and what these need; by all with --whole"

    def add(self, attempts: Sequence[Attempt]) -> None:
        """One case has ended; the last attempt counts, those before it were inconclusive."""
        last = attempts[-1]
        self._attempts += attempts
        self._ended += 1
        self.faults += last.faults
        symbol = self._symbol(not last.faults)
        total = len(self._cases) * self._repeat
        text = Text.assemble(f"{self._ended:>{len(str(total))}} of {total}  ", symbol, f" {last.case.title}")
        text.append(f"  {self._summary(last)}", "faint")
        if len(attempts) > 1:
            text.append(f", asked {len(attempts)} times", "inconclusive")
        self._console.print(text)
        for fault in last.faults:
            self._console.print(Text(f"    {lines(fault.text)}"), soft_wrap=True)

    def end(self) -> None:
        """Print what came of it all."""
        self._console.print()
        if any(case.kind == "mutant" for case in self._cases):
            self._show_matrix()
        if self._repeat > 1:
            self._console.print(self._rates())
            self._console.print()
        verdict = ("proven", "passed")
        if self.faults:
            verdict = (f"not proven: {len(self.faults)} faults, each said above", "failed")
        count = len(self._attempts)
        took = f"  {count} grading{'s' * (count != 1)} in {time.monotonic() - self._began:.0f} s"
        if not self._whole:
            took += ", of mutants only by the checks that claim them"
        self._console.print(Text.assemble((self._lab.slug, "strong"), "  ", verdict, (took, "faint")))

    def _show_matrix(self) -> None:
        """A line for each mutant: the checks that claim it, then others that it was seen to fall to."""
        mutants = [case for case in self._cases if case.kind == "mutant"]
        width = max(len(case.name) for case in mutants)
        others = ", falls to as well" if self._whole else ""
        self._console.print(Text(f"{'mutant':<{width}}  claimed by{others}", "label"))
        for case in mutants:
            text = Text(f"{case.name:<{width}}")
            for check in claiming(case.name, self._checks):
                killed, counted = self._kills(case)[check.id], self._counted(case)
                rate = f" {killed}/{counted}" if self._repeat > 1 else ""
                text.append("  ").append(*self._symbol(killed == counted > 0)).append(f" {check.id}{rate}")
            if others := self._others(case):
                text.append(f"  {others}", "faint")
            self._console.print(text, soft_wrap=True)
        self._console.print()

    def _others(self, case: Case) -> str:
        claims = {check.id for check in claiming(case.name, self._checks)}
        others = [id for id, _ in self._kills(case).most_common() if id not in claims]
        more = len(others) - _MOST_OTHERS
        return ", ".join(others[:_MOST_OTHERS]) + (f" and {more} more" if more > 0 else "")

    def _kills(self, case: Case) -> Counter[str]:
        """Check id -> in how many gradings of this case it failed."""
        return Counter(
            check.id
            for attempt in self._attempts
            if attempt.case == case and attempt.result and not attempt.in_doubt
            for check in attempt.result.checks
            if check.verdict is Verdict.FAILED
        )

    def _counted(self, case: Case) -> int:
        return sum(attempt.case == case and not attempt.in_doubt for attempt in self._attempts)

    def _rates(self) -> Table:
        """How often each case came to each verdict, those that were asked again included."""
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_row(Text("case", "label"), Text("verdicts", "label"))
        for case in self._cases:
            verdicts = Counter(_verdict(attempt) for attempt in self._attempts if attempt.case == case)
            total = verdicts.total()
            rates = [f"{name} {count}/{total}" for name, count in verdicts.most_common()]
            table.add_row(case.title, ", ".join(rates))
        return table

    def _summary(self, attempt: Attempt) -> str:
        result = attempt.result
        if result is None:
            return "no result"
        verdicts = Counter(check.verdict.value for check in result.checks)
        parts = [f"{count} {verdict}" for verdict, count in sorted(verdicts.items())]
        if len(result.checks) < len(self._checks):
            parts.append(f"{len(self._checks) - len(result.checks)} not asked")
        return f"{', '.join(parts)}  {result.duration_s:.1f} s"

    def _symbol(self, good: bool) -> tuple[str, str]:
        symbols = self._console.symbols
        return (symbols.passed, "passed") if good else (symbols.failed, "failed")


def _verdict(attempt: Attempt) -> str:
    return attempt.result.verdict.value if attempt.result else "none"
