"""JSON values compared as values: numbers exactly, false never as 0."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

MEMBERS = ("id", "name", "description", "price_cents", "attributes", "version")


def load(text: str | bytes) -> Any:
    """A JSON text as Python values, without rounding; None if it is none."""
    try:
        return json.loads(text, parse_float=Decimal)
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
                yield f"{path} is there, which nobody has stored"
            else:
                yield from differences(wanted[name], got[name], path)
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for place, pair in enumerate(zip(wanted, got, strict=True)):
            yield from differences(*pair, f"{where}[{place}]")
    elif _kind(wanted) is not _kind(got) or wanted != got:
        yield f"{where or 'the body'} is {said(got)}, not {said(wanted)}"


def product_differences(wanted: dict[str, Any], got: Any) -> list[str]:
    """Where a product's answer differs from what is stored; further members are nobody's business."""
    if not isinstance(got, dict):
        return [f"the body is {said(got)}, not a product"]
    return list(differences(wanted, {name: got[name] for name in MEMBERS if name in got}))


def said(value: Any) -> str:
    """A value as JSON, cut to what fits into a sentence."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _kind(value: Any) -> type:
    """JSON knows one kind of number."""
    return Decimal if isinstance(value, int | Decimal) and not isinstance(value, bool) else type(value)
