"""How a product, or that there is none, is written into Redis."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

ABSENT = b"absent"


@dataclass(frozen=True)
class Entry:
    """product: JSON text, or None for "there is no such product"."""

    product: str | None


def pack(product: str | None) -> bytes:
    """Compressed: smaller, and with a checksum that nothing but an entry of ours has."""
    return zlib.compress(ABSENT if product is None else product.encode())


def unpack(stored: bytes | None) -> Entry | None:
    """What was packed; None for anything else."""
    try:
        text = zlib.decompress(stored or b"")
    except zlib.error:
        return None
    return Entry(None if text == ABSENT else text.decode())
