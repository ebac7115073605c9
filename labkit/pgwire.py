"""Follows a Postgres conversation (protocol 3) from outside: which statements went out, which were answered.

Drivers prepare statements and run them by name, so what a message says depends on those before it.
Source: https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from labkit.dialogue import Part, taken

_REQUESTS = {80877103, 80877104}  # for TLS, for GSSAPI: answered by one byte
_CANCEL = 80877102
_SET_UP_BYTES = 8
# What stands between quotes says nothing of what a statement does; a quoted name does.
_QUOTED = re.compile(
    r"""(?P<text>[Ee]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)"""
    r"""|(?P<comment>--[^\n]*|/\*.*?\*/)""",
    re.DOTALL,
)
_BEGINS = re.compile(r"(BEGIN|START)\b", re.IGNORECASE)
_ENDS = re.compile(r"(COMMIT|END|ROLLBACK|ABORT|PREPARE\s+TRANSACTION)\b(?!.*\bTO\b)", re.IGNORECASE)
_COMMITS = re.compile(r"(COMMIT|END)\b", re.IGNORECASE)
_WRITES = re.compile(r"\b(INSERT|UPDATE|DELETE|MERGE|TRUNCATE)\b", re.IGNORECASE)
_PREPARES = re.compile(r"PREPARE\s+(\"?\w+\"?)\s*(?:\([^)]*\))?\s*AS\b(.*)", re.IGNORECASE | re.DOTALL)
_EXECUTES = re.compile(r"EXECUTE\s+(\"?\w+\"?)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Statement:
    """One execution of a statement.

    at              when it was sent, by the clock of the conversation
    text            without comments, and with nothing between its quotes
    in_transaction  sent within a transaction that the process had begun
    connection      number of the connection on its link: what one transaction says stands together there
    """

    at: float
    text: str
    in_transaction: bool
    connection: int = 0

    def is_about(self, table: str) -> bool:
        """Whether it names the table."""
        return re.search(rf"\b{re.escape(table)}\b", self.text, re.IGNORECASE) is not None

    @property
    def writes(self) -> bool:
        return _WRITES.search(self.text) is not None

    @property
    def commits(self) -> bool:
        """Whether what was written is kept once the server has carried this out."""
        return _COMMITS.match(self.text) is not None or (self.writes and not self.in_transaction)


class _Sync:
    """Where the server says that it is ready again."""


class Dialogue:
    """One connection. What cannot be read (TLS) passes as it is, and `readable` says so."""

    def __init__(self, clock: Callable[[], float], number: int = 0) -> None:
        self.readable = True
        self._clock = clock
        self._number = number
        self._begun = False
        self._asked_for_tls = False
        self._sent = bytearray()
        self._came = bytearray()
        self._prepared: dict[str, str] = {}
        self._portals: dict[str, str | None] = {}
        self._open: deque[Statement | _Sync] = deque()
        self._in_transaction = False

    def sent(self, data: bytes) -> Iterator[Part[Statement]]:
        """Take bytes of the process; whole messages come out, in order."""
        if not self.readable:
            yield Part(data)
            return
        self._sent += data
        while (length := self._length(self._sent, type_bytes=1 if self._begun else 0)) is not None:
            message = taken(self._sent, length)
            yield Part(message, tuple(self._begun_by(message) if self._begun else self._set_up_by(message)))
        if not self.readable:
            yield Part(taken(self._sent, len(self._sent)))

    def answered(self, data: bytes) -> Iterator[Part[Statement]]:
        """Take bytes of the server; whole messages come out, in order."""
        self._came += data
        if self._asked_for_tls and self._came:
            self._asked_for_tls = False
            answer = taken(self._came, 1)
            self.readable = self.readable and answer == b"N"
            yield Part(answer)
        while self.readable and (length := self._length(self._came, type_bytes=1)) is not None:
            message, about = taken(self._came, length), self._next_answered
            yield Part(message, tuple(self._ended_by(message)), about)
        if not self.readable:
            yield Part(taken(self._came, len(self._came)))

    @property
    def _next_answered(self) -> Statement | None:
        first = self._open[0] if self._open else None
        return first if isinstance(first, Statement) else None

    def _length(self, data: bytearray, *, type_bytes: int) -> int | None:
        """Length of the first message, or None while it is not whole."""
        if len(data) < type_bytes + 4:
            return None
        stated: int = struct.unpack_from("!i", data, type_bytes)[0]
        if stated < 4:
            self.readable = False  # somebody speaks another protocol
            return None
        return type_bytes + stated if len(data) >= type_bytes + stated else None

    def _set_up_by(self, message: bytes) -> tuple[Statement, ...]:
        code = struct.unpack_from("!i", message, 4)[0] if len(message) >= _SET_UP_BYTES else 0
        self._asked_for_tls = code in _REQUESTS
        self._begun = code not in _REQUESTS and code != _CANCEL
        return ()

    def _begun_by(self, message: bytes) -> Iterator[Statement]:
        kind, body = message[:1], message[5:]
        if kind == b"Q":
            for text in statements_in(_text(body, 0)[0]):
                yield from self._run(text)
            self._open.append(_Sync())
        elif kind == b"P":
            name, rest = _text(body, 0)
            self._prepared[name] = _text(body, rest)[0]
        elif kind == b"B":
            portal, rest = _text(body, 0)
            self._portals[portal] = self._prepared.get(_text(body, rest)[0], "")
        elif kind == b"E":
            yield from self._execute(_text(body, 0)[0])
        elif kind == b"S":
            self._open.append(_Sync())

    def _execute(self, portal: str) -> Iterator[Statement]:
        """Asking a portal for more of its rows is the same statement going on."""
        text = self._portals.get(portal)
        if text is None:
            self._open.append(self._statement(""))
            return
        self._portals[portal] = None
        found = statements_in(text)
        yield from self._run(found[0] if found else "")

    def _run(self, text: str) -> Iterator[Statement]:
        if prepares := _PREPARES.match(text):
            self._prepared[f"sql {prepares[1]}"] = prepares[2].strip()
            text = ""
        elif executes := _EXECUTES.match(text):
            text = self._prepared.get(f"sql {executes[1]}", text)
        statement = self._statement(text)
        if _BEGINS.match(text):
            self._in_transaction = True
        elif _ENDS.match(text):
            self._in_transaction = False
        self._open.append(statement)
        yield statement

    def _statement(self, text: str) -> Statement:
        return Statement(self._clock(), text, self._in_transaction, self._number)

    def _ended_by(self, message: bytes) -> Iterator[Statement]:
        kind = message[:1]
        if kind in (b"C", b"I", b"s") and self._next_answered is not None:
            yield self._open.popleft()  # type: ignore[misc]
        elif kind == b"E":  # the server skips whatever else came before the next Sync
            yield from self._skipped()
        elif kind == b"Z":
            yield from self._skipped()
            if self._open:
                self._open.popleft()
            if not self._open:
                self._in_transaction = message[5:6] != b"I"

    def _skipped(self) -> Iterator[Statement]:
        while self._next_answered is not None:
            yield self._open.popleft()  # type: ignore[misc]


def statements_in(text: str) -> list[str]:
    """The statements of a query, without comments and with nothing between its quotes."""
    bare = _QUOTED.sub(lambda found: " " if found["comment"] else "''", text)
    return [statement for part in bare.split(";") if (statement := part.strip())]


def _text(body: bytes, start: int) -> tuple[str, int]:
    """A string that ends with a zero byte, and where the next one begins."""
    end = body.index(0, start)
    return body[start:end].decode("utf-8", "replace"), end + 1
