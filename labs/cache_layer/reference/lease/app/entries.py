"""How a product, or that there is none, is written into Redis."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

ABSENT = b"null"
SEAL_DIGITS = 8


@dataclass(frozen=True)
class Entry:
    """product: JSON text, or None for "there is no such product"."""

    product: str | None


def seal(product: str | None) -> bytes:
    """A checksum and the JSON text. What others put under our keys does not pass for ours."""
    text = ABSENT if product is None else product.encode()
    return _checksum(text) + text


def unseal(stored: bytes) -> Entry | None:
    """What was sealed; None for anything else."""
    checksum, text = stored[:SEAL_DIGITS], stored[SEAL_DIGITS:]
    if checksum != _checksum(text):
        return None
    return Entry(None if text == ABSENT else text.decode())


def _checksum(text: bytes) -> bytes:
    return b"%08x" % zlib.crc32(text)
