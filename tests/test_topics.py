"""Reading a topic to its end: an empty poll is none."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from labkit.topics import unread


class Consumer:
    """Plays polls, each a list of offsets of its one partition; the end is known once records came."""

    def __init__(self, end: int, *polls: list[int]) -> None:
        self._end = end
        self._polls = list(polls)
        self._position: int | None = None
        self._heard = False

    def assign(self, partitions: list[str]) -> None:
        assert partitions == ["p"]

    def seek(self, _: str, offset: int) -> None:
        self._position = offset

    def highwater(self, _: str) -> int | None:
        return self._end if self._heard else None

    def position(self, _: str) -> int | None:
        return self._position

    def poll(self, *, timeout_ms: int) -> dict[str, list[SimpleNamespace]]:
        assert timeout_ms > 0
        offsets = self._polls.pop(0) if self._polls else []
        if offsets:
            self._heard, self._position = True, offsets[-1] + 1
        return {"p": [SimpleNamespace(offset=offset) for offset in offsets]} if offsets else {}


def test_polls_without_an_answer_are_not_the_end():
    offsets = {"p": 3}

    read = unread(Consumer(7, [], [3, 4], [], [5, 6]), offsets, within_s=5)

    assert [record.offset for record in read] == [3, 4, 5, 6]
    assert offsets == {"p": 7}


def test_what_does_not_come_to_the_end_in_time_is_an_error_and_keeps_what_it_read():
    offsets = {"p": 0}
    read = unread(Consumer(9, [0, 1]), offsets, within_s=0.01)

    assert [next(read).offset, next(read).offset] == [0, 1]
    with pytest.raises(TimeoutError, match="not read to its end in time"):
        next(read)
    assert offsets == {"p": 2}
