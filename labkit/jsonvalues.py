"""JSON values compared as values: numbers exactly, false never as 0."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

_LONGEST_SAID = 60


def load_json(text: str | bytes | None) -> Any:
    """A JSON text as Python values, without rounding; None if it is none."""
    try:
        return json.loads(text, parse_float=Decimal) if text is not None else None
    except (ValueError, RecursionError):
        return None


def json_differences(
    wanted: Any, got: Any, where: str = "", *, whole: str = "it", given: str = "sent"
) -> Iterator[str]:
    """Where two JSON values differ, each in a few words.

    `whole` names the value itself, `given` says what nobody has done with a member too many.
    """
    if isinstance(wanted, dict) and isinstance(got, dict):
        for name in [*wanted, *(name for name in got if name not in wanted)]:
            path = f"{where}.{name}" if where else name
            if name not in got:
                yield f"{path} is missing"
            elif name not in wanted:
                yield f"{path} is there, which nobody has {given}"
            else:
                yield from json_differences(wanted[name], got[name], path, given=given)
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for place, pair in enumerate(zip(wanted, got, strict=True)):
            yield from json_differences(*pair, f"{where}[{place}]", given=given)
    elif _kind(wanted) is not _kind(got) or wanted != got:
        yield f"{where or whole} is {said_as_json(got)}, not {said_as_json(wanted)}"


def said_as_json(value: Any) -> str:
    """A value as JSON, cut to what fits into a sentence."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_SAID else f"{text[:_LONGEST_SAID]}…"


def _kind(value: Any) -> type:
    """JSON knows one kind of number."""
    return Decimal if isinstance(value, int | Decimal) and not isinstance(value, bool) else type(value)
