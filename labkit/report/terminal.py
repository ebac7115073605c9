"""A result on a terminal: every check in one line, the ones that need a look in full, then what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from labkit.catalogue import Lab
from labkit.report.console import Console, Symbols
from labkit.report.evidence import evidence_table
from labkit.report.untrusted import lines, one_line
from labkit.result import CheckResult, Result, Verdict

_LABEL_WIDTH = 9
# From here on a line has room for a check's id and the sentence that it promises.
_ROOMY = 100


@dataclass(frozen=True)
class Manner:
    """How a result is shown.

    verbose   also what passed, and evidence without cuts
    options   what a command must say beside the replay to grade the same thing ("--reference", a folder)
    own       the graded folder is the reader's own work
    partial   only one check or stage was asked for
    """

    verbose: bool = False
    options: str = ""
    own: bool = True
    partial: bool = False


def show_result(result: Result, lab: Lab, console: Console, manner: Manner) -> None:
    """Print the whole report."""
    console.print()
    if result.checks:
        console.print(_list(result, lab, console, manner))
    for check in result.checks:
        if manner.verbose or check.verdict in (Verdict.FAILED, Verdict.INCONCLUSIVE):
            console.print()
            console.print(_detail(check, lab, console.symbols, manner))
    console.print()
    console.print(_summary(result, console.symbols, manner))


def _list(result: Result, lab: Lab, console: Console, manner: Manner) -> RenderableType:
    titles = {stage.name: stage.title for stage in lab.stages}
    blocks: list[RenderableType] = []
    every_line = manner.verbose or console.is_terminal
    for stage, members in groupby(result.checks, key=lambda check: check.stage):
        checks = tuple(members)
        blocks.append(_stage_line(stage, titles.get(stage, ""), checks))
        if every_line or any(check.verdict is not Verdict.PASSED for check in checks):
            blocks.append(_stage_checks(checks, console))
    return Group(*blocks)


def _stage_line(stage: str, title: str, checks: Sequence[CheckResult]) -> Table:
    earned, possible = sum(c.points for c in checks), sum(c.max_points for c in checks)
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column(no_wrap=True, justify="right")
    table.add_row(Text(stage, "strong"), Text(title, "faint"), Text(f"{earned} of {possible}", "strong"))
    return table


def _stage_checks(checks: Sequence[CheckResult], console: Console) -> RenderableType:
    reasons = {check.message for check in checks}
    if len(checks) > 1 and len(reasons) == 1 and all(c.verdict is Verdict.SKIPPED for c in checks):
        reason = one_line(checks[0].message or "skipped")
        text = f"{console.symbols.skipped} {len(checks)} checks skipped: {reason}"
        return Padding(Text(text, "skipped"), (0, 0, 0, 2), expand=False)
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(width=1)
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, justify="right")
    for check in checks:
        table.add_row(*_check_cells(check, console))
    return Padding(table, (0, 0, 0, 2), expand=False)


def _check_cells(check: CheckResult, console: Console) -> tuple[Text, ...]:
    style = check.verdict.value
    if check.verdict is Verdict.SKIPPED:
        note = f"skipped: {one_line(check.message)}" if check.message else "skipped"
    else:
        note = one_line(check.title) if console.width >= _ROOMY else ""
    return (
        Text(console.symbols.of(check.verdict), style),
        Text(check.id, "" if check.verdict is Verdict.PASSED else style),
        Text(note, "faint"),
        Text("" if check.verdict is Verdict.SKIPPED else f"{check.duration_s:.1f} s", "faint"),
        Text(f"{check.points} of {check.max_points}", "faint" if check.points else style),
    )


def _detail(check: CheckResult, lab: Lab, symbols: Symbols, manner: Manner) -> RenderableType:
    head = Text.assemble(
        (f"{symbols.of(check.verdict)} {check.id}", check.verdict.value),
        (f"   {_standing(check)}", "faint"),
    )
    table = _labelled()
    _say(table, "promised", one_line(check.title))
    _say(table, "expected", check.expected)
    _say(table, "observed", check.observed)
    if check.message and not check.observed:
        _say(table, "reason", check.message)
    if check.evidence:
        rows = evidence_table(check.evidence, symbols, everything=manner.verbose)
        table.add_row(Text("evidence", "label"), rows)
    _say(table, "hint", check.hint)
    if check.reading:
        _say(table, "read", reading(lab.slug, check.reading), "command")
    if check.verdict is not Verdict.PASSED and check.replay:
        _say(table, "replay", _command(check.replay, manner), "command")
    return Group(head, Padding(table, (0, 0, 0, 2), expand=False))


def _standing(check: CheckResult) -> str:
    if check.verdict is Verdict.INCONCLUSIVE:
        return "inconclusive: the machine got in the way, this is not held against you"
    return f"{check.points} of {check.max_points} points, {check.duration_s:.1f} s"


def reading(slug: str, heading: str) -> str:
    """The command that shows a heading of the brief; anything else (a URL) as it is."""
    if "/" in heading:
        return one_line(heading)
    words = f'"{heading}"' if " " in heading else heading
    return f"lab brief {slug} {words}"


def _summary(result: Result, symbols: Symbols, manner: Manner) -> RenderableType:
    table = _labelled()
    score = f"{result.score} of {result.max_score} points"
    counts = _counts(result.checks)
    table.add_row(
        Text(result.verdict.value, result.verdict.value),
        Text.assemble((score, "strong"), f" {symbols.dot} {counts}" if counts else ""),
    )
    if result.message:
        table.add_row("", Text(lines(result.message)))
    facts = f" {symbols.dot} ".join(
        (f"{result.provider} services", f"{result.duration_s:.1f} s", f"seed {result.seed}")
    )
    _say(table, "graded on", facts)
    for note in result.notes:
        _say(table, "note", note)
    _say(table, "next", next_step(result, manner))
    return table


def _counts(checks: Sequence[CheckResult]) -> str:
    order = (Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.SKIPPED)
    numbers = ((sum(check.verdict is verdict for check in checks), verdict) for verdict in order)
    return ", ".join(f"{number} {verdict}" for number, verdict in numbers if number)


def next_step(result: Result, manner: Manner) -> str:
    """The one thing to do after this result."""
    first = {check.verdict: check for check in reversed(result.checks)}
    whole = _command(f"grade {result.lab}", manner)
    if Verdict.FAILED in first:
        return f"start with {first[Verdict.FAILED].id}; its replay grades it alone"
    if result.verdict is Verdict.FAILED:
        return f"make it start, then {whole}"
    if Verdict.INCONCLUSIVE in first:
        return f"when the machine is less busy: {_command(first[Verdict.INCONCLUSIVE].replay, manner)}"
    if result.verdict is not Verdict.PASSED or manner.partial:
        return f"all checks: {whole}"
    if not manner.own:
        return f"build your own: lab new {result.lab}"
    return "say in docs/DESIGN.md why you built it this way: it is what you will be asked about"


def _command(replay: str, manner: Manner) -> str:
    return f"{replay} {manner.options}".strip()


def _labelled() -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=_LABEL_WIDTH, no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _say(table: Table, label: str, text: str | None, style: str = "") -> None:
    if text:
        table.add_row(Text(label, "label"), Text(lines(text), style))
