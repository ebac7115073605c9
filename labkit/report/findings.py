"""What `lab doctor` found, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from labkit.catalogue import Lab
from labkit.doctor import Finding
from labkit.report.console import Console, Symbols
from labkit.report.untrusted import lines


def show_findings(
    findings: Sequence[Finding], possible: Sequence[Lab], labs: Sequence[Lab], console: Console
) -> None:
    """One row a finding: what was tried, what came, what to do; then the labs that can be graded."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(_symbol(finding, console.symbols), finding.topic, _text(finding))
    console.print(table)
    console.print()
    if possible:
        console.print(Text(f"can be graded here: {_names(possible)}", "passed"))
    if hopeless := [lab for lab in labs if lab not in possible]:
        console.print(Text(f"cannot be graded here: {_names(hopeless)}", "failed"))


def _names(labs: Sequence[Lab]) -> str:
    return ", ".join(lab.slug for lab in labs)


def _symbol(finding: Finding, symbols: Symbols) -> Text:
    if finding.works:
        return Text(symbols.passed, "passed")
    return Text(symbols.failed, "failed") if finding.required else Text("!", "inconclusive")


def _text(finding: Finding) -> Text:
    text = Text(lines(finding.text))
    if finding.remedy:
        text.append(f"\n{lines(finding.remedy)}", "command")
    return text
