"""What clients may send: bodies, keys, merchants."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

MAX_BODY_BYTES = 1 << 20
MOST_CENTS = 10**12


class InvalidRequest(Exception):
    """Its text tells the client what is wrong."""


@dataclass(frozen=True)
class PaymentOrder:
    order_id: str
    amount_cents: int
    currency: str
    source: str


def parse_merchant(header: str | None) -> str | None:
    """The merchant, or None if the header names none."""
    return header if _is_text(header, most=64) else None


def parse_key(header: str | None) -> str:
    """The key, out of the quotes that the header's draft standard wants and most clients leave away."""
    key = header or ""
    if len(key) >= 2 and key.startswith('"') and key.endswith('"'):
        key = re.sub(r"\\(.)", r"\1", key[1:-1])
    if not _is_text(key, most=255):
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
    order_id, currency, source = fields.get("order_id"), fields.get("currency"), fields.get("source")
    if not _is_text(order_id, most=128):
        raise InvalidRequest("order_id must be a string of 1 to 128 characters")
    if not _is_text(source, most=128):
        raise InvalidRequest("source must be a string of 1 to 128 characters")
    if not isinstance(currency, str) or not re.fullmatch("[A-Z]{3}", currency):
        raise InvalidRequest("currency must be three capital letters")
    return PaymentOrder(order_id, amount(fields), currency, source)


def amount(fields: dict[str, Any]) -> int:
    cents = fields.get("amount_cents")
    # A bool is an int to Python, and none to JSON.
    if not isinstance(cents, int) or isinstance(cents, bool) or not 1 <= cents <= MOST_CENTS:
        raise InvalidRequest(f"amount_cents must be an integer from 1 to {MOST_CENTS}")
    return cents


def fingerprint(path: str, fields: dict[str, Any]) -> bytes:
    """Equal for equal JSON sent to the same path, however it is written down."""
    return hashlib.sha256(json.dumps([path, fields], sort_keys=True).encode()).digest()


def _is_text(value: Any, *, most: int) -> bool:
    """Postgres has no room for U+0000, nor UTF-8 for half of a surrogate pair."""
    if not isinstance(value, str) or not 1 <= len(value) <= most:
        return False
    return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is Python's, not JSON's")
