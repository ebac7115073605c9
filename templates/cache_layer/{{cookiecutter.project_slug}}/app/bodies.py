"""What a client sends, checked before the table sees it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

MAX_BIGINT = 2**63 - 1


class BadBody(Exception):
    """The body is no product; the message tells the client why."""


def read_id(text: str) -> int | None:
    """The id that a path or a list spells, or None: ids are 1 to 2^63-1, in plain digits."""
    if not text.isascii() or not text.isdigit() or text.startswith("0") or len(text) > len(str(MAX_BIGINT)):
        return None
    number = int(text)
    return number if number <= MAX_BIGINT else None


def read_product(body: bytes) -> str:
    """The body's JSON as it came, once it is sure to be a product. Raises BadBody.

    The text is what goes on to the table, not what Python makes of it: 0.1 and 1e400 would not be
    the same again after a trip through floats.
    """
    try:
        text = body.decode()
        product = json.loads(text)
    except (ValueError, RecursionError):
        raise BadBody("the body is not JSON in UTF-8") from None
    if not isinstance(product, dict):
        raise BadBody("the body is not a JSON object")
    wrong = [
        f"{name} must be {rule}"
        for name, (rule, holds) in _MEMBERS.items()
        if not _holds(product, name, holds)
    ]
    if wrong:
        raise BadBody("; ".join(wrong))
    return text


def _holds(product: Mapping[str, Any], name: str, holds: Callable[[Any], bool]) -> bool:
    return name in product and holds(product[name])


def _is_price(value: Any) -> bool:
    # bool is a kind of int to Python, and to nobody else.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_BIGINT


_MEMBERS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("a string", lambda value: isinstance(value, str)),
    "description": ("a string or null", lambda value: value is None or isinstance(value, str)),
    "price_cents": ("an integer from 0 to 2^63-1", _is_price),
    "attributes": ("an object", lambda value: isinstance(value, dict)),
}
