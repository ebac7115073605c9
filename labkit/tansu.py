"""What links put right in Tansu, the embedded broker, so that clients meet what Kafka would do.

Measured on Tansu 0.6.0 with raw requests. What it gets wrong otherwise is not mended, as that would
take a broker: transactions, and the time that a group takes to notice a dead member.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from kafka.protocol.api_key import ApiKey
from kafka.protocol.consumer import (
    FetchRequest,
    FetchResponse,
    IsolationLevel,
    JoinGroupRequest,
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetSpec,
)
from kafka.protocol.producer import InitProducerIdRequest, InitProducerIdResponse, ProduceRequest
from kafka.record.util import calc_crc32c

from labkit.groups import Groups
from labkit.kafkawire import Ask, Frame, decoded, encoded, unmended

if TYPE_CHECKING:
    from labkit.services import TcpAddress

# A fetch that waits is not woken by a record: it sleeps for half of its wait and looks again. One
# that may not wait at all gets nothing, records or not.
LEAST_WAIT_MS, MOST_WAIT_MS = 1, 20
# Older requests are answered with "unknown error" and no id.
PRODUCER_ID_FROM = 3
# Clients before this version do not come again with the name that they were given (KIP-394).
MEMBER_ID_FROM = 4
# The newest that is not of the flexible kind; it still goes by topics' names.
_PROBE_VERSION = 11
_BEYOND_ALL = 1 << 62
# A batch of records: https://kafka.apache.org/documentation/#recordbatch
_LENGTH, _MAGIC, _CHECKSUM, _CHECKED_FROM = 8, 16, 17, 21
_ATTRIBUTES = struct.Struct("!h")
_PRODUCER_AT, _PRODUCER = 43, struct.Struct("!qhi")  # id, epoch, sequence
_NOBODY = (-1, -1, -1)
_TRANSACTIONAL = 0x10


class Tansu:
    """What the Tansu at `address` is to be asked in place of each request of any process."""

    def __init__(self, address: TcpAddress) -> None:
        self._groups = Groups(address)

    def mended(self, frame: Frame) -> list[Ask]:
        return self._groups.watched(frame, _mended(frame))


def _mended(frame: Frame) -> list[Ask]:
    mends: dict[int, Callable[[Frame], list[Ask]]] = {
        ApiKey.Fetch: _fetch,
        ApiKey.InitProducerId: _producer_id,
        ApiKey.JoinGroup: _join,
        ApiKey.ListOffsets: _offsets,
        ApiKey.Produce: _produce,
    }
    return mends.get(frame.api, unmended)(frame)


def _fetch(frame: Frame) -> list[Ask]:
    request = decoded(FetchRequest, frame.data, frame.version)
    wait = min(max(request.max_wait_ms, LEAST_WAIT_MS), MOST_WAIT_MS)
    if wait == request.max_wait_ms:
        return unmended(frame)
    request.max_wait_ms = wait
    return [Ask(encoded(request))]


def _producer_id(frame: Frame) -> list[Ask]:
    if frame.version >= PRODUCER_ID_FROM:
        return unmended(frame)
    request = decoded(InitProducerIdRequest, frame.data, frame.version)
    request.API_VERSION = PRODUCER_ID_FROM

    def lowered(data: bytes) -> bytes:
        answer = decoded(InitProducerIdResponse, data, PRODUCER_ID_FROM)
        lower = InitProducerIdResponse(*answer, version=frame.version)  # the same fields in all of them
        lower.with_header(frame.correlation)
        return encoded(lower)

    return [Ask(encoded(request), lowered)]


def _produce(frame: Frame) -> list[Ask]:
    """Batches of a later epoch, for which Tansu fences their producer for good, as nobody's.

    After a time-out Kafka's own client begins an epoch by itself and does not tell the broker (KIP-360).
    Tansu also answers a producer that wants no acknowledgement; what it says stays here.
    """
    request, changed = decoded(ProduceRequest, frame.data, frame.version), False
    for topic in request.topic_data:
        for partition in topic.partition_data:
            records = _without_later_epochs(bytes(partition.records or b""))
            if records is not None:
                partition.records, changed = records, True
    data = encoded(request) if changed else frame.data
    return [Ask(data) if request.expect_response() else Ask(data, lambda _: b"", unasked=True)]


def _without_later_epochs(records: bytes) -> bytes | None:
    """The same records, or None where there is nothing to mend."""
    mended_records, changed = bytearray(records), False
    for begin, end in _batches(records):
        _, epoch, _ = _PRODUCER.unpack_from(records, begin + _PRODUCER_AT)
        (attributes,) = _ATTRIBUTES.unpack_from(records, begin + _CHECKED_FROM)
        if epoch <= 0 or attributes & _TRANSACTIONAL:
            continue
        changed = True
        _PRODUCER.pack_into(mended_records, begin + _PRODUCER_AT, *_NOBODY)
        checksum = calc_crc32c(memoryview(mended_records)[begin + _CHECKED_FROM : end])
        struct.pack_into("!I", mended_records, begin + _CHECKSUM, checksum)
    return bytes(mended_records) if changed else None


def _batches(records: bytes) -> Iterator[tuple[int, int]]:
    """Where each batch begins and ends, of the layout that knows producers."""
    begin = 0
    while begin + _PRODUCER_AT + _PRODUCER.size <= len(records):
        (length,) = struct.unpack_from("!i", records, begin + _LENGTH)
        end = begin + _LENGTH + 4 + length
        if records[begin + _MAGIC] != 2 or not begin < end <= len(records):
            return
        yield begin, end
        begin = end


def _join(frame: Frame) -> list[Ask]:
    """A nameless member, whom Tansu would send away with a name even if it is too old to know why."""
    request = decoded(JoinGroupRequest, frame.data, frame.version)
    if frame.version >= MEMBER_ID_FROM or request.member_id:
        return unmended(frame)
    request.member_id = f"{request.header.client_id or 'member'}-{uuid.uuid4()}"
    return [Ask(encoded(request))]


def _offsets(frame: Frame) -> list[Ask]:
    """The end of a partition, which Tansu takes for the second record of its last batch.

    A fetch tells it right. It goes first, on the same connection, and its answer stays here.
    """
    request = decoded(ListOffsetsRequest, frame.data, frame.version)
    wanted = {
        (topic.name, partition.partition_index)
        for topic in request.topics
        for partition in topic.partitions
        if partition.timestamp == OffsetSpec.LATEST
    }
    if not wanted or frame.version == 0:  # its answers have another layout; no client of today asks so
        return unmended(frame)
    committed_only = request.isolation_level == IsolationLevel.READ_COMMITTED
    ends = _Ends(frame.version, wanted, committed_only=committed_only)
    return [Ask(_probe(frame, wanted), ends.note), Ask(frame.data, ends.correct)]


class _Ends:
    """The ends of partitions, between the answer that tells them and the one that gets them wrong."""

    def __init__(self, version: int, wanted: set[tuple[str, int]], *, committed_only: bool) -> None:
        self._version = version
        self._wanted = wanted
        self._committed_only = committed_only
        self._found: dict[tuple[str, int], int] = {}

    def note(self, data: bytes) -> bytes:
        answer = decoded(FetchResponse, data, _PROBE_VERSION)
        for topic in answer.responses:
            for partition in topic.partitions:
                if partition.error_code == 0:
                    self._found[topic.topic, partition.partition_index] = (
                        partition.last_stable_offset if self._committed_only else partition.high_watermark
                    )
        return b""

    def correct(self, data: bytes) -> bytes:
        answer = decoded(ListOffsetsResponse, data, self._version)
        for topic in answer.topics:
            for partition in topic.partitions:
                where = topic.name, partition.partition_index
                if where in self._wanted and partition.error_code == 0:
                    partition.offset = self._found.get(where, partition.offset)
        return encoded(answer)


def _probe(frame: Frame, partitions: set[tuple[str, int]]) -> bytes:
    """A fetch from so far beyond all records that it brings none."""
    in_topic = FetchRequest.FetchTopic
    request = FetchRequest(
        version=_PROBE_VERSION,
        max_wait_ms=LEAST_WAIT_MS,
        min_bytes=0,
        topics=[
            in_topic(
                version=_PROBE_VERSION,
                topic=topic,
                partitions=[
                    in_topic.FetchPartition(
                        version=_PROBE_VERSION,
                        partition=partition,
                        fetch_offset=_BEYOND_ALL,
                        partition_max_bytes=1,
                    )
                ],
            )
            for topic, partition in sorted(partitions)
        ],
    )
    request.with_header(frame.correlation)
    return encoded(request)
