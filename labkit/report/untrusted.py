"""Makes text of a submission safe to show: its output, its headers, its bodies."""

from __future__ import annotations

import re
import unicodedata

# CSI and OSC sequences, and the two-character escapes: colours, cursor moves, window titles, links.
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]?|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)|\x1b[ -/]*[0-~]?|\x9b[0-?]*[ -/]*[@-~]?",
    re.DOTALL,
)
# Control, format (they can reverse a line), surrogate, private and unassigned characters.
_UNSHOWABLE = {"Cc", "Cf", "Cs", "Co", "Cn"}


def one_line(text: str, limit: int = 300) -> str:
    """`text` in one line of at most about `limit` characters, without escapes or controls."""
    shown = _clean(_ESCAPES.sub("", text[: 20 * limit]), keep="").rstrip()
    if len(shown) <= limit:
        return shown
    return f"{shown[:limit].rstrip()} ... ({len(text) - limit} more characters)"


def lines(text: str, limit: int = 4000) -> str:
    """Like `one_line`, for text whose line breaks matter."""
    shown = _clean(_ESCAPES.sub("", text[: 20 * limit]), keep="\n").rstrip()
    if len(shown) <= limit:
        return shown
    return f"{shown[:limit].rstrip()}\n... ({len(text) - limit} more characters)"


def _clean(text: str, *, keep: str) -> str:
    return "".join(_shown(char) if char not in keep else char for char in text)


def _shown(char: str) -> str:
    if char.isspace():
        return " "
    return "\N{REPLACEMENT CHARACTER}" if unicodedata.category(char) in _UNSHOWABLE else char
