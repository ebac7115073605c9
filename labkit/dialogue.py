"""What a link understands of one connection: its bytes in parts, and which requests each is about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Sent = TypeVar("Sent")  # one request: a statement, a message


@dataclass(frozen=True)
class Part(Generic[Sent]):
    """Bytes of a dialogue.

    requests  those that they set going or, coming from the server, bring the end of
    about     the request that the server speaks of
    """

    data: bytes
    requests: tuple[Sent, ...] = ()
    about: Sent | None = None


class Dialogue(Protocol[Sent]):
    """One connection. What cannot be read passes as it is, and `readable` says so."""

    readable: bool

    def sent(self, data: bytes) -> Iterator[Part[Sent]]:
        """Take bytes of the process; whole messages come out for the server, in order."""

    def answered(self, data: bytes) -> Iterator[Part[Sent]]:
        """Take bytes of the server; whole messages come out for the process, in order."""


def taken(data: bytearray, length: int) -> bytes:
    """The first bytes of `data`, which is left without them."""
    first = bytes(data[:length])
    del data[:length]
    return first
