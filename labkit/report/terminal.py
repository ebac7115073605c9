"""A result on a terminal: every check in one line, the ones that need a look in full, then what to do."""

from __future__ import annotations

from collections import Counter
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

# Where texts begin, behind their labels.
_TEXT_COLUMN = 14
_STAGE_WIDTH = 9
# Characters of one text; the JSON file has them all.
_LONGEST = 800
# Wider than this, points would stand far from what they are for.
_LIST_WIDTH = 80


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
    if result.checks:
        console.print()
        console.print(_list(result, lab, console, manner), width=min(console.width, _LIST_WIDTH))
    for check in result.checks:
        if manner.verbose or check.verdict in (Verdict.FAILED, Verdict.INCONCLUSIVE):
            console.print()
            console.print(_detail(check, lab, console.symbols, manner))
            if check.verdict is not Verdict.PASSED and check.replay:
                _print_command(console, "  replay", _command(check.replay, manner))
    console.print()
    console.print(_summary(result, console.symbols))
    _print_command(console, "next", next_step(result, manner))


def _print_command(console: Console, label: str, command: str) -> None:
    """In one line however long it is, since it is there to be copied."""
    text = Text.assemble((f"{label:<{_TEXT_COLUMN}}", "label"), (one_line(command), "command"))
    console.print(text, soft_wrap=True)


def _list(result: Result, lab: Lab, console: Console, manner: Manner) -> RenderableType:
    titles = {stage.name: stage.title for stage in lab.stages}
    every_line = manner.verbose or console.is_terminal
    blocks: list[RenderableType] = []
    for stage, members in groupby(result.checks, key=lambda check: check.stage):
        checks = tuple(members)
        judged = [check for check in checks if check.verdict is not Verdict.SKIPPED]
        reasons = Counter(one_line(c.message or "no reason given") for c in checks if c not in judged)
        note = titles.get(stage, "") if judged else f"{console.symbols.skipped} {next(iter(reasons))}"
        blocks.append(_stage_line(stage, note, checks, console))
        if judged and (every_line or any(check.verdict is not Verdict.PASSED for check in judged)):
            blocks.append(_stage_checks(judged, console))
        for reason, count in reasons.items() if judged else ():
            blocks.append(Text(f"  {console.symbols.skipped} {count} skipped: {reason}", "skipped"))
    return Group(*blocks)


def _stage_line(stage: str, note: str, checks: Sequence[CheckResult], console: Console) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(no_wrap=True, min_width=_STAGE_WIDTH)
    table.add_column(ratio=1, no_wrap=True, overflow=console.overflow)
    table.add_column(no_wrap=True, justify="right")
    points = _points(sum(c.points for c in checks), sum(c.max_points for c in checks))
    table.add_row(Text(stage, "strong"), Text(note, "faint"), Text(points, "strong"))
    return table


def _stage_checks(checks: Sequence[CheckResult], console: Console) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0), expand=True)
    table.add_column(width=3, justify="right")
    table.add_column(ratio=1, no_wrap=True, overflow=console.overflow)
    table.add_column(width=7, no_wrap=True, justify="right")
    table.add_column(width=9, no_wrap=True, justify="right")
    for check in checks:
        style = check.verdict.value
        table.add_row(
            Text(console.symbols.of(check.verdict), style),
            Text(check.id, "" if check.verdict is Verdict.PASSED else style),
            Text(f"{check.duration_s:.1f} s", "faint"),
            Text(_points(check.points, check.max_points), "faint" if check.points else style),
        )
    return table


def _points(earned: int, possible: int) -> str:
    return f"{earned} of {possible:>2}"


def _detail(check: CheckResult, lab: Lab, symbols: Symbols, manner: Manner) -> RenderableType:
    head = Text.assemble(
        (f"{symbols.of(check.verdict)} {check.id}", check.verdict.value),
        (f"   {_standing(check)}", "faint"),
    )
    table = _labelled(indent=2)
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
    return Group(head, Padding(table, (0, 0, 0, 2), expand=False))


def _standing(check: CheckResult) -> str:
    if check.verdict is Verdict.INCONCLUSIVE:
        return "inconclusive: this is not held against you"
    return f"{check.points} of {check.max_points} points, {check.duration_s:.1f} s"


def reading(slug: str, heading: str) -> str:
    """The command that shows a heading of the brief; anything else (a URL) as it is."""
    if "/" in heading:
        return one_line(heading)
    words = f'"{heading}"' if " " in heading else heading
    return f"lab brief {slug} {words}"


def _summary(result: Result, symbols: Symbols) -> RenderableType:
    table = _labelled(indent=0)
    table.add_row(Text(result.verdict.value, result.verdict.value), _score(result, symbols))
    if result.message:
        table.add_row("", Text(lines(result.message, _LONGEST)))
    notes = dict(_labelled_note(note) for note in result.notes)
    for label, text in {"services": result.provider, **notes}.items():
        _say(table, label, text)
    _say(table, "took", f"{result.duration_s:.1f} s, with seed {result.seed}")
    return table


def _score(result: Result, symbols: Symbols) -> Text:
    if not result.checks:
        return Text("nothing was graded", "strong")
    score = f"{result.score} of {result.max_score} points"
    return Text.assemble((score, "strong"), f" {symbols.dot} {_counts(result.checks)}")


def _labelled_note(note: str) -> tuple[str, str]:
    """ "services: embedded servers" is said beside "services"."""
    label, colon, text = note.partition(": ")
    return (label, text) if colon and label.isalpha() and len(label) < _TEXT_COLUMN - 2 else ("note", note)


def _counts(checks: Sequence[CheckResult]) -> str:
    order = (Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.SKIPPED)
    numbers = ((sum(check.verdict is verdict for check in checks), verdict) for verdict in order)
    return ", ".join(f"{number} {verdict}" for number, verdict in numbers if number)


def next_step(result: Result, manner: Manner) -> str:
    """The one thing to do after this result."""
    first = {check.verdict: check for check in reversed(result.checks)}
    whole = _command(f"grade {result.lab}", manner)
    if result.verdict is Verdict.ERROR:
        return "labkit is at fault, not you: report this, with what `lab doctor` prints"
    if Verdict.FAILED in first:
        return _command(first[Verdict.FAILED].replay, manner)
    if Verdict.INCONCLUSIVE in first:
        return _command(first[Verdict.INCONCLUSIVE].replay, manner)
    if result.verdict is not Verdict.PASSED or manner.partial:
        return f"all checks: {whole}"
    if not manner.own:
        return f"build your own: lab new {result.lab}"
    return "say in docs/DESIGN.md why it is built this way"


def _command(replay: str, manner: Manner) -> str:
    return f"{replay} {manner.options}".strip()


def _labelled(*, indent: int) -> Table:
    """Two columns, a label and its text; texts begin in the same column everywhere."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=_TEXT_COLUMN - 2 - indent, no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _say(table: Table, label: str, text: str | None, style: str = "") -> None:
    if text:
        table.add_row(Text(label, "label"), Text(lines(text, _LONGEST), style))
