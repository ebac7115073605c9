"""Results, checks and labs as text: for a terminal, and as JUnit's XML."""

from labkit.report.console import Console, Symbols, open_console
from labkit.report.junit import to_junit
from labkit.report.terminal import Manner, show_result

__all__ = ["Console", "Manner", "Symbols", "open_console", "show_result", "to_junit"]
