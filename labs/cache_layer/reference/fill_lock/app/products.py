"""What clients may send: ids and bodies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

LARGEST = 2**63 - 1
MOST_IDS = 100
MAX_BODY_BYTES = 1 << 20
DIGITS = re.compile(r"[1-9][0-9]{0,18}")


class InvalidRequest(Exception):
    """Its text tells the client what is wrong."""


def parse_id(text: str) -> int:
    """Raises InvalidRequest for anything but an integer from 1 to 2^63-1 in its shortest form."""
    if not DIGITS.fullmatch(text) or int(text) > LARGEST:
        raise InvalidRequest("an id is an integer from 1 to 2^63-1")
    return int(text)


def parse_ids(text: str) -> list[int]:
    """Raises InvalidRequest for anything but 1 to 100 ids with commas between."""
    parts = text.split(",", MOST_IDS)
    if len(parts) > MOST_IDS:
        raise InvalidRequest(f"at most {MOST_IDS} ids can be asked for")
    return [parse_id(part) for part in parts]


def check_body(raw: bytes) -> str:
    """The body as JSON text that is fit to be stored. Raises InvalidRequest.

    Nothing that was read here is stored: Postgres reads the text itself and loses no digit.
    """
    try:
        text = raw.decode()
        fields = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise InvalidRequest("the body is not JSON") from None
    if not isinstance(fields, dict):
        raise InvalidRequest("the body is not an object")
    for name, is_right in RULES.items():
        if name not in fields or not is_right(fields[name]):
            raise InvalidRequest(f"{name} is missing or not what it must be")
    return text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is Python's, not JSON's")


def _is_price(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


RULES: dict[str, Callable[[Any], bool]] = {
    "name": lambda value: isinstance(value, str),
    "description": lambda value: value is None or isinstance(value, str),
    "price_cents": _is_price,
    "attributes": lambda value: isinstance(value, dict),
}
