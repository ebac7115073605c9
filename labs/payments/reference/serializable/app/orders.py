"""What clients may send: bodies, keys, merchants."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

MAX_BODY_BYTES = 1 << 20
MOST_CENTS = 10**12


class InvalidRequest(Exception):
    """Its text tells the client what is wrong."""


def is_storable(text: str) -> bool:
    """Postgres has no room for U+0000, nor UTF-8 for half of a surrogate pair."""
    return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text)


def _storable(text: str) -> str:
    if not is_storable(text):
        raise ValueError("has a character that cannot be stored")
    return text


Text = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_storable)]
Cents = Annotated[int, Field(ge=1, le=MOST_CENTS)]
Currency = Annotated[str, StringConstraints(pattern=r"\A[A-Z]{3}\z")]


class Order(BaseModel):
    """Strict: "100" and true are no integers."""

    model_config = ConfigDict(strict=True, frozen=True)

    def fingerprint(self, path: str) -> str:
        """Equal for what asks for the same at the same path, however it is written down."""
        text = json.dumps([path, self.model_dump()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class PaymentOrder(Order):
    order_id: Text
    amount_cents: Cents
    currency: Currency
    source: Text


class RefundOrder(Order):
    amount_cents: Cents


AnyOrder = TypeVar("AnyOrder", bound=Order)


def parse_body(raw: bytes, kind: type[AnyOrder]) -> AnyOrder:
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise InvalidRequest(": ".join([*map(str, first["loc"]), first["msg"]])) from None


def parse_merchant(header: str | None) -> str | None:
    """The merchant, or None if the header names none."""
    return header if header and len(header) <= 64 and is_storable(header) else None


def parse_key(header: str | None) -> str:
    """The key, out of the quotes that the header's draft standard wants and most clients leave away."""
    key = header or ""
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = re.sub(r"\\(.)", r"\1", key[1:-1])
    if not 1 <= len(key) <= 255 or not is_storable(key):
        raise InvalidRequest("Idempotency-Key must have 1 to 255 characters")
    return key
