"""Tables of what there is: the labs, and the checks of a lab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from labkit.catalogue import Lab
from labkit.report.console import Console
from labkit.report.untrusted import one_line

if TYPE_CHECKING:
    from labkit.execution import PlannedCheck


def show_checks(checks: Sequence[PlannedCheck], lab: Lab, console: Console) -> None:
    """`grade --list`: checks by stage, with points and what each promises."""
    titles = {stage.name: stage.title for stage in lab.stages}
    for stage, members in groupby(checks, key=lambda check: check.stage):
        planned = tuple(members)
        points = sum(check.points for check in planned)
        console.print(
            Text.assemble((stage, "strong"), f"  {titles.get(stage, '')}  ", (f"{points} points", "faint"))
        )
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(justify="right", width=2)
        table.add_column()
        for check in planned:
            table.add_row(
                str(check.points), Text.assemble((check.id, "command"), "\n", (check.title, "faint"))
            )
        console.print(Padding(table, (0, 0, 1, 2), expand=False))
    total = sum(check.points for check in checks)
    console.print(f"{len(checks)} checks, {total} points; one alone: grade {lab.slug} --only ID")


def show_labs(labs: Sequence[Lab], standings: Mapping[str, str], console: Console) -> None:
    """`lab list`: title, level, hours and services of each lab, and how far the reader is."""
    for lab in labs:
        facts = (lab.level, f"{hours(lab.minutes)} hours", ", ".join(map(str.capitalize, lab.services)))
        head = Text.assemble((lab.slug, "strong"), "  ", lab.title, (f"  ({'; '.join(facts)})", "faint"))
        console.print(head)
        console.print(Padding(Text(lab.summary, "faint"), (0, 0, 0, 2), expand=False))
        console.print(Padding(Text(standings.get(lab.slug, "not begun here")), (0, 0, 1, 2), expand=False))
    console.print("read one: lab brief LAB    start one: lab new LAB")


def hours(minutes: int) -> str:
    """480 -> "8", 90 -> "1.5"."""
    return f"{minutes / 60:.1f}".removesuffix(".0")


def standing(*, score: int, max_score: int, verdict: str, where: str) -> str:
    return f"{score} of {max_score} points, {verdict}, in {one_line(where)}"
