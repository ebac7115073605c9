"""Follows a Redis conversation (RESP) from outside: which commands went out, which replies came back."""

from __future__ import annotations

import hiredis

_MORE = object()
# What a client or its pool sends to set a connection up or to see whether it still lives; it is
# no part of a decision.
_SET_UP = frozenset(
    {b"AUTH", b"CLIENT", b"COMMAND", b"HELLO", b"INFO", b"PING", b"QUIT", b"READONLY", b"RESET", b"SELECT"}
)


class Conversation:
    """One connection. Counts *flights*: commands sent without waiting for a reply in between.

    A pipeline, a transaction sent at once or a script is one flight: one round trip. Where the bytes
    are not RESP (inline commands), each turn of the client's is a flight.
    """

    def __init__(self) -> None:
        self._requests = hiredis.Reader(notEnoughData=_MORE)
        self._replies = hiredis.Reader(notEnoughData=_MORE)
        self._waiting = 0
        self._counted = False
        self._by_turns = False

    def sent(self, data: bytes) -> bool:
        """Take bytes of the client; tells whether they begin a flight of a decision."""
        if self._waiting == 0:
            self._counted = False
        begins = False
        for name in self._commands(data):
            self._waiting += 1
            if name not in _SET_UP and not self._counted:
                self._counted = begins = True
        return begins

    def answered(self, data: bytes) -> None:
        """Take bytes that the server sent and the client is given."""
        if self._by_turns:
            self._waiting = 0
            return
        try:
            self._count_replies(data)
        except hiredis.ProtocolError:
            self._by_turns = True
            self._waiting = 0

    def _commands(self, data: bytes) -> list[bytes]:
        """Names of the commands that `data` completes, in capitals; one without a name for a turn."""
        if not self._by_turns:
            try:
                return self._names(data)
            except hiredis.ProtocolError:
                self._by_turns = True
        return [b""]

    def _names(self, data: bytes) -> list[bytes]:
        self._requests.feed(data)
        names = []
        while (command := self._requests.gets()) is not _MORE:
            word = command[0] if isinstance(command, list) and command else b""
            names.append(word.upper() if isinstance(word, bytes) else b"")
        return names

    def _count_replies(self, data: bytes) -> None:
        self._replies.feed(data)
        while (reply := self._reply()) is not _MORE:
            if not isinstance(reply, hiredis.PushNotification):
                self._waiting = max(self._waiting - 1, 0)

    def _reply(self) -> object:
        return self._replies.gets()
