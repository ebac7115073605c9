"""How a product, or that there is none, is written into Redis."""

from __future__ import annotations

import json
from dataclasses import dataclass

MEMBERS = {"id", "name", "description", "price_cents", "attributes", "version"}


@dataclass(frozen=True)
class Entry:
    """product: JSON text, or None for "there is no such product"."""

    product: str | None


def write_entry(product_id: int, product: str | None) -> str:
    return json.dumps({"absent": product_id}) if product is None else product


def read_entry(product_id: int, stored: bytes) -> Entry | None:
    """None for what `write_entry` did not write for this product.

    It is parsed to be judged only: the text goes out as Postgres wrote it, with all its digits.
    """
    try:
        text = stored.decode()
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if content == {"absent": product_id}:
        return Entry(None)
    is_ours = isinstance(content, dict) and content.keys() == MEMBERS and content["id"] == product_id
    return Entry(text) if is_ours else None
