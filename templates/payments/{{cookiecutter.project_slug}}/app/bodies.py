"""What a client sends, checked before anything is done with it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_AMOUNT_CENTS = 10**12
MAX_TEXT = 128
MAX_KEY = 255
MAX_MERCHANT = 64


class BadRequest(Exception):
    """A header or a body is not as it has to be; the message tells the client why."""


class UnknownMerchant(Exception):
    """The request does not say in whose name it comes."""


@dataclass(frozen=True)
class NewPayment:
    """The body of POST /payments."""

    order_id: str
    amount_cents: int
    currency: str
    source: str


@dataclass(frozen=True)
class NewRefund:
    """The body of POST /payments/{id}/refunds."""

    amount_cents: int


def read_merchant(headers: Mapping[str, str]) -> str:
    """Who asks. Raises UnknownMerchant."""
    merchant = headers.get("X-Merchant-Id", "").strip()
    if not 1 <= len(merchant) <= MAX_MERCHANT or not merchant.isprintable():
        raise UnknownMerchant
    return merchant


def read_key(headers: Mapping[str, str]) -> str:
    """The Idempotency-Key, without the quotes that RFC 9651 puts around a string. Raises BadRequest."""
    key = headers.get("Idempotency-Key", "").strip()
    if len(key) >= 2 and key.startswith('"') and key.endswith('"'):
        key = key[1:-1]
    # What is not printable cannot be kept as text, so no two of them could be told apart.
    if not 1 <= len(key) <= MAX_KEY or not key.isprintable():
        raise BadRequest(f"Idempotency-Key must be 1 to {MAX_KEY} printable characters")
    return key


def read_payment(body: bytes) -> NewPayment:
    """Raises BadRequest that names every member that is wrong."""
    return NewPayment(**_members(body, _PAYMENT))


def read_refund(body: bytes) -> NewRefund:
    """Raises BadRequest."""
    return NewRefund(**_members(body, _REFUND))


Rules = Mapping[str, tuple[str, Callable[[Any], bool]]]


def _members(body: bytes, rules: Rules) -> dict[str, Any]:
    """The members that there are rules for; whatever else there is, is left alone."""
    try:
        sent = json.loads(body.decode())
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON in UTF-8") from None
    if not isinstance(sent, dict):
        raise BadRequest("the body is not a JSON object")
    wrong = [
        f"{name} must be {rule}"
        for name, (rule, holds) in rules.items()
        if name not in sent or not holds(sent[name])
    ]
    if wrong:
        raise BadRequest("; ".join(wrong))
    return {name: sent[name] for name in rules}


def _is_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    # A NUL or half of a surrogate pair is legal JSON that Postgres cannot keep.
    return 1 <= len(value) <= MAX_TEXT and not re.search("[\0\ud800-\udfff]", value)


def _is_amount(value: Any) -> bool:
    # bool is a kind of int to Python, and to nobody else.
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_AMOUNT_CENTS


def _is_currency(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[A-Z]{3}", value) is not None


_TEXT = f"a string of 1 to {MAX_TEXT} characters"
_AMOUNT = "an integer from 1 to 10^12"

_PAYMENT: Rules = {
    "order_id": (_TEXT, _is_text),
    "amount_cents": (_AMOUNT, _is_amount),
    "currency": ("three capital letters", _is_currency),
    "source": (_TEXT, _is_text),
}
_REFUND: Rules = {"amount_cents": (_AMOUNT, _is_amount)}
