"""What `lab doctor` found, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from labkit.doctor import Finding
from labkit.report.console import Console, Symbols
from labkit.report.untrusted import lines


def show_findings(findings: Sequence[Finding], console: Console) -> None:
    """One row a finding: what was tried, what came, and the remedy where something is wrong."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(_symbol(finding, console.symbols), finding.name, _text(finding))
    console.print(table)
    console.print()
    console.print(_verdict(findings))


def _symbol(finding: Finding, symbols: Symbols) -> Text:
    if finding.works:
        return Text(symbols.passed, "passed")
    if finding.needed:
        return Text(symbols.failed, "failed")
    return Text(symbols.inconclusive, "inconclusive")


def _text(finding: Finding) -> Text:
    text = Text(lines(finding.text))
    if finding.remedy:
        text.append(f"\n{finding.remedy}", "command")
    return text


def _verdict(findings: Sequence[Finding]) -> Text:
    faults = [finding for finding in findings if finding.needed and not finding.works]
    if faults:
        return Text(f"grading is not possible here: {', '.join(fault.name for fault in faults)}", "failed")
    return Text("grading is possible here", "passed")
