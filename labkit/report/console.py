"""The consoles that everything is printed on, and the symbols that they can show."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console as RichConsole
from rich.console import OverflowMethod
from rich.theme import Theme

from labkit.result import Verdict

# Logs have no width of their own; 100 columns read well in CI.
_WIDTH_ELSEWHERE = 100
_THEME = Theme(
    {
        "passed": "green",
        "failed": "bold red",
        "inconclusive": "yellow",
        "skipped": "dim",
        "error": "bold magenta",
        "label": "dim",
        "faint": "dim",
        "command": "cyan",
        "strong": "bold",
        "markdown.code": "cyan",
    }
)


@dataclass(frozen=True)
class Symbols:
    """One character or two for what is said again and again."""

    passed: str
    failed: str
    skipped: str
    inconclusive: str
    waiting: str
    running: str
    mark: str
    bar: str
    dot: str

    def of(self, verdict: Verdict) -> str:
        if verdict is Verdict.ERROR:
            return self.failed
        return str(getattr(self, verdict.value))


_UNICODE = Symbols("✓", "✗", "–", "?", "·", "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "▶", "│", "·")  # noqa: RUF001
_ASCII = Symbols("+", "x", "-", "?", ".", "|/-\\", ">", "|", "-")


class Console(RichConsole):
    """A rich console that a reader may leave (`grade | head`) without changing the exit code."""

    @property
    def symbols(self) -> Symbols:
        return _UNICODE if self.encoding.startswith("utf") else _ASCII

    @property
    def overflow(self) -> OverflowMethod:
        """How a line that is too long is cut: rich knows only one ellipsis."""
        return "ellipsis" if self.symbols is _UNICODE else "crop"

    @property
    def live(self) -> bool:
        """Whether lines may be drawn again: a real terminal, whatever FORCE_COLOR says."""
        return self.is_terminal and self.file.isatty() and not self.is_dumb_terminal

    def on_broken_pipe(self) -> None:
        self.quiet = True
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, self.file.fileno())
        os.close(devnull)


def open_console(file: TextIO | None = None) -> Console:
    """A console on `file` (default: stdout): no markup, no guessed colours, nothing but the theme."""
    stream = file or sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _WIDTH_ELSEWHERE
    return Console(
        file=stream,
        width=width,
        theme=_THEME,
        markup=False,
        highlight=False,
        emoji=False,
        legacy_windows=False,
    )
