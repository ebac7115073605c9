"""JSON whose values stay the text that they were written as.

A payload passes through unread: a number of forty digits leaves as it came, which no `json.loads`
and `json.dumps` in a row would promise.
"""

from __future__ import annotations

import json
import re
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import NoReturn

SPACE = re.compile(r"[ \t\n\r]*")


class NotJson(ValueError):
    """Not a JSON object in UTF-8."""


def _refuse(name: str) -> NoReturn:
    raise NotJson(f"{name} is no JSON")


# Numbers are checked by the grammar and left unread: Python refuses to make an int of 5000 digits.
_values = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse)


def members(document: bytes) -> dict[str, str]:
    """Its members, each value as JSON text. Raises NotJson."""
    try:
        return _members(document.decode())
    except (ValueError, IndexError, RecursionError) as error:
        raise NotJson(str(error)) from error


def _members(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at = _past("{", text, 0)
    while text[at := _skip(text, at)] != "}":
        at = _past(",", text, at) if found else at
        name, at = scanstring(text, _past('"', text, at))
        start = _skip(text, _past(":", text, at))
        at = _values.raw_decode(text, start)[1]
        found[name] = text[start:at]
    if _skip(text, at + 1) != len(text):
        raise NotJson("there is more after its end")
    return found


def _past(sign: str, text: str, at: int) -> int:
    """Where the text goes on after the sign that must come next."""
    at = _skip(text, at)
    if text[at] != sign:
        raise NotJson(f"expected {sign} at character {at}")
    return at + 1


def _skip(text: str, at: int) -> int:
    match = SPACE.match(text, at)
    assert match  # it matches nothing as well
    return match.end()
