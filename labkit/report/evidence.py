"""The rows that prove a fault: on one clock, the first contradiction marked."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from labkit.report.console import Symbols
from labkit.report.untrusted import one_line
from labkit.result import EvidenceRow

# A screenful of rows, a few lines of each cell; `-v` and the JSON file have them all.
_CELL = 160
_SHOWN = 14
_BEFORE_MARK = 8


def evidence_table(rows: Sequence[EvidenceRow], symbols: Symbols, *, everything: bool) -> Table:
    """Columns: mark, seconds, who, what, answer. Long stretches are cut around the marked row."""
    table = Table.grid(padding=(0, 1))
    table.add_column(width=len(symbols.mark))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, max_width=16)
    table.add_column(ratio=3, overflow="fold")
    table.add_column(ratio=2, overflow="fold")
    begin, end = (0, len(rows)) if everything else _stretch(rows)
    _add_left_out(table, begin, "earlier")
    for row in rows[begin:end]:
        _add(table, row, symbols, limit=1000 if everything else _CELL)
    _add_left_out(table, len(rows) - end, "later")
    return table


def _stretch(rows: Sequence[EvidenceRow]) -> tuple[int, int]:
    marked = next((index for index, row in enumerate(rows) if row.mark), 0)
    begin = max(min(marked - _BEFORE_MARK, len(rows) - _SHOWN), 0)
    return begin, min(begin + _SHOWN, len(rows))


def _add(table: Table, row: EvidenceRow, symbols: Symbols, *, limit: int) -> None:
    style = "failed" if row.mark else ""
    time = "" if row.at is None else f"{row.at:.3f} s"
    texts = (
        symbols.mark if row.mark else "",
        time,
        *(one_line(cell, limit) for cell in (row.who, row.what, row.answer)),
    )
    table.add_row(*(Text(text, style=style) for text in texts))


def _add_left_out(table: Table, count: int, which: str) -> None:
    if count > 0:
        rows = "row" if count == 1 else "rows"
        table.add_row("", "", "", Text(f"({count} {which} {rows})", style="faint"), "")
