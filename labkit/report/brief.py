"""A brief in Markdown on a terminal, whole or one heading of it."""

from __future__ import annotations

import re

import click
from rich.markdown import Markdown

from labkit.errors import UnknownName
from labkit.report.console import Console

_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*$")
# Longer lines are hard to read.
_MEASURE = 80


def show_brief(text: str, heading: str | None, console: Console) -> None:
    """Print it; on a terminal that it does not fit, through the pager. Raises UnknownName."""
    wanted = section(text, heading) if heading else text
    # ansi_dark has no background of its own: it is read on light terminals too
    page = Markdown(wanted, hyperlinks=False, code_theme="ansi_dark")
    with console.capture() as captured:
        console.print(page, width=min(console.width, _MEASURE))
    rendered = captured.get()
    if console.live and rendered.count("\n") > console.height:
        # unlike rich's, click's pager makes sure that `less` shows colours
        click.echo_via_pager(rendered)
    else:
        console.file.write(rendered)


def section(text: str, heading: str) -> str:
    """The part of a Markdown text under one heading, named in words or as in a link ("shared-state")."""
    rows = text.splitlines()
    found = _headings(rows)
    wanted = _slug(heading)
    for index, (start, level, name) in enumerate(found):
        if name == wanted:
            end = next((row for row, other, _ in found[index + 1 :] if other <= level), len(rows))
            return "\n".join(rows[start:end])
    raise UnknownName("heading", heading, [name for _, _, name in found])


def _headings(rows: list[str]) -> list[tuple[int, int, str]]:
    """Row, level and slug of each heading; a "#" within a fenced block is none."""
    found, fenced = [], False
    for number, row in enumerate(rows):
        if row.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif not fenced and (match := _HEADING.match(row)):
            found.append((number, len(match[1]), _slug(match[2])))
    return found


def _slug(heading: str) -> str:
    return re.sub(r"[^\w]+", "-", heading.lower()).strip("-")
