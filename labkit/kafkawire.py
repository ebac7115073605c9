"""Follows a Kafka connection from outside, and keeps its client on the link.

A broker tells its clients where to connect. Were that passed on, a process would come to its link
once and from then on go past it, so answers are made to name the link instead.
Source: https://kafka.apache.org/protocol.html; what has to be read is read by kafka-python's schemas.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka.errors import UnsupportedVersionError
from kafka.protocol.admin import DescribeClusterResponse
from kafka.protocol.api_key import ApiKey
from kafka.protocol.consumer import ListOffsetsRequest, OffsetCommitRequest
from kafka.protocol.metadata import (
    ApiVersionsRequest,
    ApiVersionsResponse,
    FindCoordinatorResponse,
    MetadataResponse,
)
from kafka.protocol.producer import (
    InitProducerIdRequest,
    ProduceRequest,
    ProduceResponse,
    TxnOffsetCommitRequest,
)

from labkit.dialogue import Part, taken

if TYPE_CHECKING:
    from labkit.services import TcpAddress

_SIZE = struct.Struct("!i")
_REQUEST = struct.Struct("!ihhi")  # size, API, version, correlation id
_ANSWER = struct.Struct("!ii")  # size, correlation id
# What brokers take unless told otherwise (socket.request.max.bytes). Other protocols begin with
# letters or with TLS's 0x16, which would be sizes beyond it.
_MOST_BYTES = 100 << 20

_NAMES = {key.value: key.name for key in ApiKey}
_NAMING_BROKERS = {
    answer.API_KEY: answer
    for answer in (MetadataResponse, FindCoordinatorResponse, DescribeClusterResponse, ProduceResponse)
}
_NAMING_TOPICS = {
    request.API_KEY: request for request in (ProduceRequest, OffsetCommitRequest, TxnOffsetCommitRequest)
}
# The highest versions that clients are offered: those whose layout is known here, and of some only
# those before topics go by their ids, which do not tell the names, or answers to fetches name brokers.
_OFFERED_UP_TO = {
    **{
        known.API_KEY: known.max_version
        for known in (
            *(*_NAMING_BROKERS.values(), *_NAMING_TOPICS.values()),
            *(ApiVersionsResponse, InitProducerIdRequest, ListOffsetsRequest),
        )
    },
    ApiKey.Produce: 12,
    ApiKey.Fetch: 15,
    ApiKey.OffsetCommit: 9,
}
# Answers to share consumers name brokers too, in a layout that kafka-python does not know.
_NOT_OFFERED = {ApiKey.ShareFetch, ApiKey.ShareAcknowledge}
# What kafka-python raises over bytes that are no such message.
_ILLEGIBLE = (ValueError, IndexError, KeyError, TypeError, AssertionError, OverflowError, struct.error)


@dataclass(frozen=True, eq=False)
class Message:
    """One request of a process.

    at      when it was sent, by the clock of the dialogue
    api     its name in Kafka's protocol: "Produce", "Fetch", "OffsetCommit"
    topics  names of those that a Produce, OffsetCommit or TxnOffsetCommit is about; empty for others
    """

    at: float
    api: str
    topics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Frame:
    """A request as it came: its bytes with the size before them, and what its header says."""

    data: bytes
    api: int
    version: int
    correlation: int

    @classmethod
    def of(cls, data: bytes) -> Frame:
        _, api, version, correlation = _REQUEST.unpack_from(data)
        return cls(data, api, version, correlation)


@dataclass(frozen=True)
class Ask:
    """What the broker is sent, and what of its answer the process is given: both with their sizes.

    `unasked` says that the broker answers where the process wants no answer, and is given none.
    """

    data: bytes
    given: Callable[[bytes], bytes] = bytes
    unasked: bool = False


Mend = Callable[[Frame], list[Ask]]


def decoded(kind: Any, data: bytes, version: int) -> Any:
    """A request or an answer out of its bytes, with the size before them."""
    return kind.decode(data, version=version, header=True, framed=True)


def encoded(message: Any) -> bytes:
    """Its bytes, with the size before them."""
    return bytes(message.encode(header=True, framed=True))


def unmended(frame: Frame) -> list[Ask]:
    """The request as it is."""
    return [Ask(frame.data)]


@dataclass(frozen=True)
class _Awaited:
    """An answer that will come; `message` is the one that it brings to its end."""

    correlation: int
    given: Callable[[bytes], bytes]
    message: Message | None


class Dialogue:
    """One connection of a process that shall connect to nothing but `at`.

    `mend` tells what the broker is asked in place of each request.
    """

    def __init__(self, clock: Callable[[], float], at: TcpAddress, *, mend: Mend = unmended) -> None:
        self.readable = True
        self._clock = clock
        self._at = at
        self._mend = mend
        self._sent = bytearray()
        self._came = bytearray()
        self._awaited: deque[_Awaited] = deque()  # a broker answers in order

    def sent(self, data: bytes) -> Iterator[Part[Message]]:
        """Take bytes of the process; whole requests come out, in order."""
        self._sent += data
        while (request := self._next_request()) is not None:
            yield self._passed(request)
        if not self.readable and self._sent:
            yield Part(taken(self._sent, len(self._sent)))

    def answered(self, data: bytes) -> Iterator[Part[Message]]:
        """Take bytes of the broker; whole answers come out, in order."""
        self._came += data
        while (answer := self._next_answer()) is not None:
            yield self._given(answer)
        if not self.readable and self._came:
            yield Part(taken(self._came, len(self._came)))

    def _next_request(self) -> bytes | None:
        if not self.readable or len(self._sent) < _SIZE.size:
            return None
        (size,) = _SIZE.unpack_from(self._sent)
        if not _REQUEST.size - _SIZE.size <= size <= _MOST_BYTES:
            self.readable = False
            return None
        return _whole(self._sent, size)

    def _next_answer(self) -> bytes | None:
        if not self.readable or not self._came:
            return None
        if self._awaited and len(self._came) < _ANSWER.size:
            return None
        if not self._awaited or not self._is_awaited(*_ANSWER.unpack_from(self._came)):
            self.readable = False
            return None
        return _whole(self._came, _SIZE.unpack_from(self._came)[0])

    def _is_awaited(self, size: int, correlation: int) -> bool:
        return size >= _ANSWER.size - _SIZE.size and correlation == self._awaited[0].correlation

    def _passed(self, data: bytes) -> Part[Message]:
        frame = Frame.of(data)
        try:
            topics, is_answered = _told_by(frame)
            asks = self._asks(frame)
        except _ILLEGIBLE:
            self.readable = False
            return Part(data)
        message = Message(self._clock(), _NAMES.get(frame.api, f"API {frame.api}"), topics)
        last = len(asks) - 1 if is_answered else None
        self._awaited += [
            _Awaited(frame.correlation, ask.given, message if number == last else None)
            for number, ask in enumerate(asks)
            if is_answered or ask.unasked
        ]
        return Part(b"".join(ask.data for ask in asks), (message,))

    def _given(self, data: bytes) -> Part[Message]:
        awaited = self._awaited.popleft()
        ended = (awaited.message,) if awaited.message else ()
        try:
            return Part(awaited.given(data), ended, awaited.message)
        except _ILLEGIBLE:
            self.readable = False
            return Part(data, ended, awaited.message)

    def _asks(self, frame: Frame) -> list[Ask]:
        if frame.api == ApiKey.ApiVersions:
            return [_asked_what_is_offered(frame)]
        if frame.version > _OFFERED_UP_TO.get(frame.api, frame.version):
            raise ValueError("a version that the process was not offered")
        asks = self._mend(frame)
        if frame.api not in _NAMING_BROKERS:
            return asks
        return [
            ask if ask.unasked else Ask(ask.data, partial(self._led_to_link, frame, ask.given))
            for ask in asks
        ]

    def _led_to_link(self, frame: Frame, given: Callable[[bytes], bytes], came: bytes) -> bytes:
        data = given(came)
        answer = decoded(_NAMING_BROKERS[frame.api], data, frame.version)
        brokers = [broker for broker in _brokers_in(answer) if broker.host]
        if not brokers:
            return data
        for broker in brokers:
            broker.host, broker.port = self._at.host, self._at.port
        return encoded(answer)


def _whole(data: bytearray, size: int) -> bytes | None:
    """A message of that size, or None while it is not whole."""
    length = _SIZE.size + size
    return taken(data, length) if len(data) >= length else None


def _told_by(frame: Frame) -> tuple[tuple[str, ...], bool]:
    """Names of the topics that a request is about, and whether it is answered."""
    if frame.api not in _NAMING_TOPICS:
        return (), True
    request = decoded(_NAMING_TOPICS[frame.api], frame.data, frame.version)
    topics = request.topic_data if frame.api == ApiKey.Produce else request.topics
    return tuple(topic.name for topic in topics), request.expect_response()


def _brokers_in(answer: Any) -> list[Any]:
    """Whatever in an answer has a host and a port."""
    if isinstance(answer, FindCoordinatorResponse):
        return [answer, *(answer.coordinators or ())]
    if isinstance(answer, ProduceResponse):
        return list(answer.node_endpoints or ())
    return list(answer.brokers)


def _asked_what_is_offered(frame: Frame) -> Ask:
    if frame.version <= _OFFERED_UP_TO[ApiKey.ApiVersions]:
        return Ask(frame.data, partial(_offered, version=frame.version))
    oldest = ApiVersionsRequest(version=0)
    oldest.with_header(frame.correlation)
    return Ask(encoded(oldest), _refused)


def _refused(data: bytes) -> bytes:
    """What a broker says that does not know the version of the question; the client then asks in one
    that it knows (KIP-511). Tansu would hang up instead.
    """
    answer = decoded(ApiVersionsResponse, _offered(data, version=0), 0)
    answer.error_code = UnsupportedVersionError.errno
    answer.api_keys = [api for api in answer.api_keys if api.api_key == ApiKey.ApiVersions]
    return encoded(answer)


def _offered(data: bytes, *, version: int) -> bytes:
    """The APIs and versions that the process is offered: none that could not be followed."""
    answer = decoded(ApiVersionsResponse, data, version)
    answer.api_keys = [api for api in answer.api_keys if api.api_key not in _NOT_OFFERED]
    for api in answer.api_keys:
        api.max_version = min(api.max_version, _OFFERED_UP_TO.get(api.api_key, api.max_version))
    return encoded(answer)
