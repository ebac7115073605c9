"""What clients may send: bodies, keys, merchants."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

MAX_BODY_BYTES = 1 << 20
MOST_CENTS = 10**12
ESCAPED = re.compile(r"\\(.)")


class InvalidRequest(Exception):
    """Its text tells the client what is wrong."""


@dataclass(frozen=True)
class PaymentOrder:
    order_id: str
    amount_cents: int
    currency: str
    source: str


@dataclass(frozen=True)
class RefundOrder:
    amount_cents: int


def parse_merchant(header: str | None) -> str | None:
    """The merchant, or None if the header names none."""
    return header if header and len(header) <= 64 and _is_storable(header) else None


def parse_key(header: str | None) -> str:
    """The key, out of the quotes that the header's draft standard wants and most clients leave away."""
    key = header or ""
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = ESCAPED.sub(r"\1", key[1:-1])
    if not 1 <= len(key) <= 255 or not _is_storable(key):
        raise InvalidRequest("Idempotency-Key must have 1 to 255 characters")
    return key


def parse_json(raw: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(raw, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise InvalidRequest("the body is not JSON") from None
    if not isinstance(fields, dict):
        raise InvalidRequest("the body is not an object")
    return fields


def payment_order(fields: dict[str, Any]) -> PaymentOrder:
    return PaymentOrder(**_checked(fields, ("order_id", "amount_cents", "currency", "source")))


def refund_order(fields: dict[str, Any]) -> RefundOrder:
    return RefundOrder(**_checked(fields, ("amount_cents",)))


def fingerprint(path: str, fields: dict[str, Any]) -> bytes:
    """Equal for equal JSON sent to the same path, however it is written down."""
    return hashlib.sha256(json.dumps([path, fields], sort_keys=True).encode()).digest()


def _checked(fields: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    for name in names:
        if name not in fields or not RULES[name](fields[name]):
            raise InvalidRequest(f"{name} is missing or not what it must be")
    return {name: fields[name] for name in names}


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is Python's, not JSON's")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= 128 and _is_storable(value)


def _is_storable(text: str) -> bool:
    """Postgres has no room for U+0000, nor UTF-8 for half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _is_amount(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_CENTS


def _is_currency(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[A-Z]{3}", value) is not None


RULES: dict[str, Callable[[Any], bool]] = {
    "order_id": _is_text,
    "amount_cents": _is_amount,
    "currency": _is_currency,
    "source": _is_text,
}
