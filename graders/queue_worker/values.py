"""JSON values compared as values: numbers exactly, false never as 0."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

# Not to be had as a float: the next integers that are differ by two.
BEYOND_FLOATS = 2**53 + 1
_LONGEST_SAID = 60


def load(text: str | bytes | None) -> Any:
    """A JSON text as Python values, without rounding; None if it is none."""
    try:
        return json.loads(text, parse_float=Decimal) if text is not None else None
    except (ValueError, RecursionError):
        return None


def differences(wanted: Any, got: Any, where: str = "") -> Iterator[str]:
    """Where two JSON values differ, each in a few words."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        for name in [*wanted, *(name for name in got if name not in wanted)]:
            path = f"{where}.{name}" if where else name
            if name not in got:
                yield f"{path} is missing"
            elif name not in wanted:
                yield f"{path} is there, which nobody has sent"
            else:
                yield from differences(wanted[name], got[name], path)
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for place, pair in enumerate(zip(wanted, got, strict=True)):
            yield from differences(*pair, f"{where}[{place}]")
    elif _kind(wanted) is not _kind(got) or wanted != got:
        yield f"{where or 'it'} is {said(got)}, not {said(wanted)}"


def told_differences(wanted: dict[str, Any], got: Any) -> list[str]:
    """Where what was told differs from what had to be; further members are nobody's business."""
    if not isinstance(got, dict):
        return [f"it is {said(got)}, not an object"]
    return list(differences(wanted, {name: got[name] for name in wanted if name in got}))


def said(value: Any) -> str:
    """A value as JSON, cut to what fits into a sentence."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_SAID else f"{text[:_LONGEST_SAID]}…"


def _kind(value: Any) -> type:
    """JSON knows one kind of number."""
    return Decimal if isinstance(value, int | Decimal) and not isinstance(value, bool) else type(value)
