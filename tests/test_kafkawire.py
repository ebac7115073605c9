"""Everything that a process says to Kafka goes through its link: delayed, held and put right there."""

from __future__ import annotations

import json
import secrets
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import kafka.codec
import pytest
from confluent_kafka import Producer
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaTimeoutError
from kafka.protocol.admin import DescribeClusterRequest, DescribeClusterResponse
from kafka.protocol.consumer import (
    FetchRequest,
    FetchResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    LeaveGroupResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetCommitRequest,
    SyncGroupRequest,
    SyncGroupResponse,
)
from kafka.protocol.metadata import (
    ApiVersionsRequest,
    ApiVersionsResponse,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    MetadataRequest,
    MetadataResponse,
)
from kafka.protocol.producer import (
    InitProducerIdRequest,
    InitProducerIdResponse,
    ProduceRequest,
    ProduceResponse,
)
from kafka.record.default_records import DefaultRecordBatchBuilder

from labkit import Inconclusive, Way
from labkit.kafkawire import Dialogue, Mend
from labkit.links import Link
from labkit.loop import Loop
from labkit.run import Run
from labkit.services import Service, TcpAddress
from labkit.services.containers import Containers
from labkit.services.embedded import Embedded

AT = TcpAddress("127.0.0.1", 4000)
ELSEWHERE = {"host": "broker.elsewhere", "port": 9092}
KEYS = [0, 1, 2, 3, 8, 10, 11, 18, 22, 28, 60]  # the APIs that are read, and one that is not
REQUESTS = st.tuples(st.sampled_from(KEYS), st.integers(0, 18), st.binary(max_size=64))
PATIENCE_S = 20.0
SHARE = b"all yours"


# What passes, frame by frame


def framed(message: Any, *, correlation: int = 7) -> bytes:
    message.with_header(correlation)
    return bytes(message.encode(header=True, framed=True))


def dialogue() -> Dialogue:
    return Dialogue(time.monotonic, AT)


def sent(dialogue: Dialogue, data: bytes) -> bytes:
    return b"".join(part.data for part in dialogue.sent(data))


def answered(dialogue: Dialogue, data: bytes) -> bytes:
    return b"".join(part.data for part in dialogue.answered(data))


def metadata(version: int) -> MetadataResponse:
    brokers = [MetadataResponse.MetadataResponseBroker(version=version, node_id=1, **ELSEWHERE)]
    return MetadataResponse(version=version, brokers=brokers, topics=[])


def coordinator(version: int) -> FindCoordinatorResponse:
    if version < 4:
        return FindCoordinatorResponse(version=version, node_id=1, **ELSEWHERE)
    one = FindCoordinatorResponse.Coordinator(version=version, key="group", node_id=1, **ELSEWHERE)
    return FindCoordinatorResponse(version=version, coordinators=[one])


def cluster(version: int) -> DescribeClusterResponse:
    broker = DescribeClusterResponse.DescribeClusterBroker(version=version, broker_id=1, **ELSEWHERE)
    return DescribeClusterResponse(version=version, cluster_id="labkit", brokers=[broker])


def other_leader(version: int) -> ProduceResponse:
    leader = ProduceResponse.NodeEndpoint(version=version, node_id=1, **ELSEWHERE)
    return ProduceResponse(version=version, responses=[], node_endpoints=[leader])


def produce(version: int, topic: str = "jobs", *, acks: int = -1) -> ProduceRequest:
    in_topic = ProduceRequest.TopicProduceData
    data = in_topic.PartitionProduceData(version=version, index=0, records=b"")
    topics = [in_topic(version=version, name=topic, partition_data=[data])]
    return ProduceRequest(version=version, acks=acks, timeout_ms=1000, topic_data=topics)


NAMING_BROKERS = [
    *[(MetadataRequest(version=v, topics=[]), metadata(v)) for v in range(14)],
    *[
        (FindCoordinatorRequest(version=v, key="group", coordinator_keys=["group"]), coordinator(v))
        for v in range(7)
    ],
    *[(DescribeClusterRequest(version=v), cluster(v)) for v in range(3)],
    *[(produce(v), other_leader(v)) for v in range(10, 13)],
]


@pytest.mark.parametrize(
    ("request_", "answer"),
    NAMING_BROKERS,
    ids=lambda one: f"{one.name}-{one.version}" if one.is_request() else "",
)
def test_answers_name_the_link_where_they_named_the_broker(request_, answer):
    on_link, data = dialogue(), framed(answer)
    assert sent(on_link, framed(request_)) == framed(request_)

    given = answered(on_link, data)

    (length,) = struct.unpack_from("!i", given)
    assert length == len(given) - 4
    named = type(answer).decode(given, version=answer.version, header=True, framed=True)
    assert (named.header.correlation_id, on_link.readable) == (7, True)
    assert json.dumps(named.to_dict()) == json.dumps(answer.to_dict()).replace(
        '"host": "broker.elsewhere", "port": 9092', '"host": "127.0.0.1", "port": 4000'
    )


@settings(deadline=None)  # schemas are compiled when they are first needed
@given(st.lists(REQUESTS.filter(lambda request: request[0] != 18 or request[1] <= 4)))
def test_requests_pass_byte_for_byte_whatever_they_hold(requests):
    data = b"".join(
        struct.pack("!ihhi", 8 + len(body), key, version, 7) + body for key, version, body in requests
    )

    assert sent(dialogue(), data) == data


def test_a_coordinator_that_is_not_to_be_had_is_not_invented():
    on_link = dialogue()
    answer = framed(FindCoordinatorResponse(version=1, error_code=15, node_id=-1, host="", port=-1))
    sent(on_link, framed(FindCoordinatorRequest(version=1, key="group")))

    assert answered(on_link, answer) == answer


@pytest.mark.parametrize(("version", "error"), [(0, 0), (3, 0), (4, 0), (0, 35)])
def test_clients_are_offered_what_can_be_followed(version, error):
    """A broker that does not know the version of the question answers in version 0, with error 35."""
    on_link = dialogue()
    broad = [
        ApiVersionsResponse.ApiVersion(version=version, api_key=key, max_version=99) for key in range(93)
    ]
    sent(on_link, framed(ApiVersionsRequest(version=4 if error else version)))

    given = answered(on_link, framed(ApiVersionsResponse(version=version, error_code=error, api_keys=broad)))

    offered = ApiVersionsResponse.decode(given, version=version, header=True, framed=True)
    highest = {api.api_key: api.max_version for api in offered.api_keys}
    assert {key: most for key, most in highest.items() if most != 99} == {
        **{0: 12, 1: 15, 2: 11, 3: 13, 8: 9, 10: 6},
        **{18: 4, 22: 6, 28: 5, 60: 2},
    }
    assert set(range(93)) - set(highest) == {78, 79}
    assert (offered.error_code, on_link.readable) == (error, True)


def versions_asked_in(version: int) -> bytes:
    """The question of a client that is newer than anything that is known here."""
    return struct.pack("!ihhi", 23, 18, version, 7) + b"whatever is new"


@pytest.mark.parametrize("version", [5, 99])
def test_a_client_of_the_future_is_asked_to_speak_an_older_version(version):
    on_link = dialogue()
    known = [ApiVersionsResponse.ApiVersion(version=0, api_key=key, max_version=6) for key in range(20)]

    assert sent(on_link, versions_asked_in(version)) == framed(ApiVersionsRequest(version=0))
    given = answered(on_link, framed(ApiVersionsResponse(version=0, error_code=0, api_keys=known)))

    told = ApiVersionsResponse.decode(given, version=0, header=True, framed=True)
    assert told.error_code == 35
    assert [(api.api_key, api.min_version, api.max_version) for api in told.api_keys] == [(18, 0, 4)]
    assert (told.header.correlation_id, on_link.readable) == (7, True)


def test_other_messages_pass_byte_for_byte_however_they_are_cut():
    on_link = dialogue()
    beats = [framed(HeartbeatRequest(version=4, group_id="group"), correlation=n) for n in range(3)]
    echoes = [framed(HeartbeatResponse(version=4), correlation=n) for n in range(3)]

    there = [sent(on_link, bytes([byte])) for byte in b"".join(beats)]
    back = [answered(on_link, bytes([byte])) for byte in b"".join(echoes)]

    assert [data for data in there if data] == beats
    assert [data for data in back if data] == echoes
    assert on_link.readable


def test_each_message_is_told_with_its_topics_and_once_more_when_it_is_answered():
    on_link = dialogue()
    commit = OffsetCommitRequest(
        version=9, group_id="group", topics=[OffsetCommitRequest.OffsetCommitRequestTopic(name="jobs")]
    )
    beat = framed(HeartbeatRequest(version=4), correlation=9)
    there = [
        message
        for data in (framed(produce(9, "dead")), framed(commit, correlation=8), beat)
        for part in on_link.sent(data)
        for message in part.requests
    ]

    (beaten,) = on_link.answered(framed(ProduceResponse(version=9)))

    assert [(message.api, message.topics) for message in there] == [
        ("Produce", ("dead",)),
        ("OffsetCommit", ("jobs",)),
        ("Heartbeat", ()),
    ]
    assert (beaten.requests, beaten.about) == ((there[0],), there[0])


def test_no_answer_is_awaited_where_the_process_wants_none():
    on_link = dialogue()
    sent(on_link, framed(produce(9, acks=0), correlation=1))
    sent(on_link, framed(HeartbeatRequest(version=4), correlation=2))
    answer = framed(HeartbeatResponse(version=4), correlation=2)

    assert answered(on_link, answer) == answer
    assert on_link.readable


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(bytes.fromhex("16030100c5010000c1"), id="TLS"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP"),
        pytest.param(struct.pack("!ihhi", 8, 0, 9, 1), id="a message without its content"),
        pytest.param(struct.pack("!i", 3) + b"abc", id="no header"),
        pytest.param(framed(produce(13)), id="a version that was not offered"),
    ],
)
def test_what_cannot_be_read_passes_as_it_is(data):
    on_link = dialogue()

    assert sent(on_link, data) == data
    assert not on_link.readable
    assert answered(on_link, b"whatever") == b"whatever"
    assert sent(on_link, b"more") == b"more"


@pytest.mark.parametrize(
    "data", [framed(HeartbeatResponse(version=4), correlation=8), struct.pack("!iih", 6, 7, 5)]
)
def test_an_answer_that_cannot_be_read_passes_as_it_is(data):
    on_link = dialogue()
    sent(on_link, framed(MetadataRequest(version=4)))

    assert answered(on_link, data + b"rest") == data + b"rest"
    assert not on_link.readable


# Through a link, with real clients


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    with Loop.open() as opened:
        yield opened


@pytest.fixture(scope="module")
def broker() -> Iterator[Service]:
    with Run.open() as run, Embedded(run).open("kafka") as service:
        yield service


@contextmanager
def linked(loop: Loop, broker: Service, *, mend: Mend | None) -> Iterator[Link]:
    link = Link(loop, process="worker-1", service="kafka", upstream=broker.host.address, mend=mend)
    link.open()
    with closing(link):
        yield link


@pytest.fixture
def link(loop: Loop, broker: Service) -> Iterator[Link]:
    with linked(loop, broker, mend=broker.mend) as opened:
        yield opened


@pytest.fixture
def topic(broker: Service) -> str:
    return new_topic(broker)


def new_topic(broker: Service) -> str:
    name = f"jobs-{secrets.token_hex(4)}"
    with closing(KafkaAdminClient(bootstrap_servers=str(broker.host.address))) as admin:
        admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])
    return name


class Raw:
    """A connection that asks in whatever version it is told."""

    def __init__(self, at: TcpAddress) -> None:
        self._socket = socket.create_connection((at.host, at.port), timeout=PATIENCE_S)

    def close(self) -> None:
        self._socket.close()

    def ask(self, request: Any, answer: Any) -> Any:
        came = self.ask_with(framed(request))
        return answer.decode(came, version=request.version, header=True, framed=True)

    def ask_with(self, data: bytes) -> bytes:
        """What is answered, size and all; nothing where the other side hangs up."""
        self._socket.sendall(data)
        with self._socket.makefile("rb") as came:
            size = came.read(4)
            return size + came.read(*struct.unpack("!i", size)) if size else b""


def fetched(at: TcpAddress, topic: str, *, wait_ms: int = 1) -> Any:
    """What one fetch tells of the only partition, or None where it tells nothing."""
    in_topic = FetchRequest.FetchTopic
    partition = in_topic.FetchPartition(version=11, partition=0, fetch_offset=0, partition_max_bytes=1000)
    request = FetchRequest(
        version=11,
        max_wait_ms=wait_ms,
        min_bytes=0,
        topics=[in_topic(version=11, topic=topic, partitions=[partition])],
    )
    with closing(Raw(at)) as raw:
        answer = raw.ask(request, FetchResponse)
    return answer.responses[0].partitions[0] if answer.responses else None


def records_in(broker: Service, topic: str) -> int:
    count: int = fetched(broker.host.address, topic).high_watermark
    return count


@contextmanager
def producing(link: Link, **options: Any) -> Iterator[KafkaProducer]:
    producer = KafkaProducer(bootstrap_servers=str(link.address), **options)
    try:
        yield producer
    finally:
        producer.close(timeout=0)


def in_the_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


THROUGH_KAFKA_PYTHON = """
from kafka import KafkaConsumer, KafkaProducer
producer = KafkaProducer(bootstrap_servers=at, enable_idempotence=True)
for value in wanted:
    producer.send(topic, value).get(timeout=10)
consumer = KafkaConsumer(
    topic, bootstrap_servers=at, group_id=topic, auto_offset_reset="earliest",
    session_timeout_ms=1000, heartbeat_interval_ms=300,
)
found = [next(consumer).value for _ in wanted]
consumer.commit()
end = list(consumer.end_offsets(consumer.assignment()).values())
tell(found, end)
"""
THROUGH_AIOKAFKA = """
import asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
async def talk():
    producer = AIOKafkaProducer(bootstrap_servers=at, enable_idempotence=True)
    await producer.start()
    for value in wanted:
        await producer.send_and_wait(topic, value)
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=at, group_id=topic, auto_offset_reset="earliest",
        session_timeout_ms=1000, heartbeat_interval_ms=300,
    )
    await consumer.start()
    found = [(await consumer.getone()).value for _ in wanted]
    await consumer.commit()
    tell(found, list((await consumer.end_offsets(consumer.assignment())).values()))
    await consumer.stop()
    await producer.stop()
asyncio.run(talk())
"""
THROUGH_LIBRDKAFKA = """
from confluent_kafka import Consumer, Producer, TopicPartition
producer = Producer({"bootstrap.servers": at, "enable.idempotence": True})
for value in wanted:
    producer.produce(topic, value)
    assert producer.flush(10) == 0
consumer = Consumer({
    "bootstrap.servers": at, "group.id": topic, "auto.offset.reset": "earliest",
    "session.timeout.ms": 1000, "heartbeat.interval.ms": 300, "enable.auto.commit": False,
})
consumer.subscribe([topic])
found = []
while len(found) < len(wanted):
    record = consumer.poll(10)
    assert record is not None and record.error() is None, record and record.error()
    found.append(record.value())
consumer.commit(asynchronous=False)
tell(found, [consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)[1]])
consumer.close()
"""
SET_UP = """
import json, sys
import psutil
at, topic, wanted = sys.argv[1], sys.argv[2], [b"1", b"2", b"3"]
def tell(found, end):
    peers = {peer.raddr.port for peer in psutil.Process().net_connections("tcp") if peer.raddr}
    print(json.dumps([[value.decode() for value in found], end, sorted(peers)]))
"""


def talk_of(client: str, link: Link, topic: str) -> list[object]:
    """What a program of its own read, the end that it was told, and the ports that it is connected to."""
    argv = [sys.executable, "-W", "ignore", "-c", SET_UP + client, str(link.address), topic]
    ended = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    told: list[object] = json.loads(ended.stdout)
    return told


CLIENTS = pytest.mark.parametrize(
    "client",
    [THROUGH_KAFKA_PYTHON, THROUGH_AIOKAFKA, THROUGH_LIBRDKAFKA],
    ids=["kafka-python", "aiokafka", "librdkafka"],
)


@CLIENTS
def test_clients_do_all_they_do_through_the_link(link, topic, client):
    assert talk_of(client, link, topic) == [["1", "2", "3"], [3], [link.address.port]]

    told = [(message.api, message.topics) for message in link.messages]
    assert told.count(("Produce", (topic,))) == 3
    assert ("OffsetCommit", (topic,)) in told
    assert {"FindCoordinator", "JoinGroup", "Fetch"} < {api for api, _ in told}


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_the_grader_reads_what_a_process_packed_with_any_codec(broker, link, topic, codec):
    """Without a codec its consumer would not fail but look for it again and again."""
    producer = Producer({"bootstrap.servers": str(link.address), "compression.type": codec})
    producer.produce(topic, b"packed " * 100)
    assert producer.flush(PATIENCE_S) == 0

    assert getattr(kafka.codec, f"has_{codec}")()
    consumer = KafkaConsumer(topic, bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")
    with closing(consumer):
        polled = consumer.poll(PATIENCE_S * 1000)
    assert [record.value for records in polled.values() for record in records] == [b"packed " * 100]


def test_a_producer_stops_while_its_link_is_refused_and_goes_on_afterwards(broker, link, topic):
    with producing(link, reconnect_backoff_max_ms=50) as producer:
        producer.send(topic, b"before").get(PATIENCE_S)
        link.refuse()
        last = producer.send(topic, b"after")
        with pytest.raises(KafkaTimeoutError):
            last.get(0.5)
        assert records_in(broker, topic) == 1

        link.open()

        last.get(PATIENCE_S)
    assert records_in(broker, topic) == 2


def test_a_client_whose_link_is_cut_comes_back_through_it(broker, link, topic):
    with producing(link, reconnect_backoff_max_ms=50) as producer:
        producer.send(topic, b"before").get(PATIENCE_S)
        link.cut()

        producer.send(topic, b"after").get(PATIENCE_S)
    assert records_in(broker, topic) == 2
    assert len([message for message in link.messages if message.api == "Produce"]) >= 2


def test_an_acknowledgement_is_delayed(link, topic):
    with producing(link) as producer:
        producer.send(topic, b"quick").get(PATIENCE_S)
        link.delay(0.3)
        begin = time.monotonic()
        producer.send(topic, b"slow").get(PATIENCE_S)

    assert time.monotonic() - begin >= 0.3


def test_a_record_is_held_on_its_way_there(broker, link, topic):
    with producing(link) as producer:
        with link.trap(lambda message: topic in message.topics, way=Way.THERE) as trap:
            sending = producer.send(topic, b"held")
            assert trap.caught.wait(PATIENCE_S)

            assert records_in(broker, topic) == 0
            assert not sending.is_done
        sending.get(PATIENCE_S)
    assert records_in(broker, topic) == 1


def test_an_acknowledgement_is_held_on_its_way_back(broker, link, topic):
    with producing(link) as producer:
        with link.trap(lambda message: message.api == "Produce", way=Way.BACK) as trap:
            sending = producer.send(topic, b"done")
            assert trap.caught.wait(PATIENCE_S)

            assert records_in(broker, topic) == 1
            assert not sending.is_done
        sending.get(PATIENCE_S)


def test_a_record_whose_connection_ends_on_the_way_never_arrives(broker, link, topic):
    with producing(link, retries=0) as producer:
        with link.trap(lambda message: topic in message.topics, way=Way.THERE) as trap:
            sending = producer.send(topic, b"lost")
            assert trap.caught.wait(PATIENCE_S)
            trap.cut()
            in_the_background(producer.flush).join(PATIENCE_S)

        assert sending.failed()
    assert records_in(broker, topic) == 0


def test_messages_of_a_connection_that_cannot_be_followed_are_not_told(link):
    with socket.create_connection((link.address.host, link.address.port), timeout=PATIENCE_S) as connection:
        connection.sendall(bytes.fromhex("16030100c5010000c1"))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""

    with pytest.raises(Inconclusive, match="worker-1 speaks to Kafka in a way that cannot be followed"):
        _ = link.messages


# What links put right in the embedded broker. Where Tansu has come to do it itself, the mend can go.


@pytest.fixture
def unmended(loop: Loop, broker: Service) -> Iterator[Link]:
    with linked(loop, broker, mend=None) as opened:
        yield opened


def filled(link: Link, topic: str) -> None:
    with producing(link, linger_ms=50) as producer:
        for _ in range(30):
            producer.send(topic, b"x")
        producer.flush(PATIENCE_S)


def end_of(link: Link, topic: str, *, version: int) -> int:
    in_topic = ListOffsetsRequest.ListOffsetsTopic
    partition = in_topic.ListOffsetsPartition(version=version, partition_index=0, timestamp=-1)
    request = ListOffsetsRequest(
        version=version, topics=[in_topic(version=version, name=topic, partitions=[partition])]
    )
    with closing(Raw(link.address)) as raw:
        end: int = raw.ask(request, ListOffsetsResponse).topics[0].partitions[0].offset
    return end


@pytest.mark.parametrize("version", [1, 5, 7])
def test_the_end_of_a_partition_lies_behind_its_last_record(link, unmended, topic, version):
    filled(link, topic)

    assert end_of(link, topic, version=version) == 30
    assert end_of(unmended, topic, version=version) != 30


def test_clients_that_are_newer_than_the_broker_are_not_hung_up_on(broker, link, unmended):
    """Links do this before any broker: they cannot follow what they do not know."""
    for way in (link, unmended):
        with closing(Raw(way.address)) as raw:
            refused = ApiVersionsResponse.decode(
                raw.ask_with(versions_asked_in(5)), version=0, header=True, framed=True
            )
            asked_again = ApiVersionsRequest(version=refused.api_keys[0].max_version)

            assert refused.error_code == 35
            assert raw.ask(asked_again, ApiVersionsResponse).error_code == 0
    with closing(Raw(broker.host.address)) as raw:
        assert raw.ask_with(versions_asked_in(5)) == b""


@pytest.mark.parametrize("version", [0, 1, 2])
def test_old_requests_for_a_producer_id_are_granted(link, unmended, version):
    request = InitProducerIdRequest(version=version, transactional_id=None, transaction_timeout_ms=1000)

    with closing(Raw(link.address)) as raw, closing(Raw(unmended.address)) as other:
        ids = [raw.ask(request, InitProducerIdResponse).producer_id for _ in range(2)]

        assert 0 < ids[0] < ids[1]
        assert other.ask(request, InitProducerIdResponse).error_code != 0


@pytest.mark.parametrize("version", [0, 2, 3])
def test_old_clients_join_a_group_without_a_name(link, unmended, topic, version):
    """As kafka-go does; only clients of later versions come again with the name that they were given."""
    protocol = JoinGroupRequest.JoinGroupRequestProtocol(version=version, name="range", metadata=b"any")
    request = JoinGroupRequest(
        version=version,
        group_id=topic,
        session_timeout_ms=1000,
        rebalance_timeout_ms=1000,
        member_id="",
        protocol_type="consumer",
        protocols=[protocol],
    )

    with closing(Raw(link.address)) as raw, closing(Raw(unmended.address)) as other:
        assert other.ask(request, JoinGroupResponse).error_code != 0
        joined = raw.ask(request, JoinGroupResponse)

    assert (joined.error_code, joined.leader) == (0, joined.member_id)
    assert [member.member_id for member in joined.members] == [joined.member_id]


class Joining(Raw):
    """A member of a group; its asking is up to the test."""

    def __init__(self, at: TcpAddress, group: str) -> None:
        super().__init__(at)
        self.group = group
        self.name = ""
        self.name = self.join().member_id

    def join(self) -> Any:
        protocol = JoinGroupRequest.JoinGroupRequestProtocol(version=5, name="range", metadata=b"any")
        request = JoinGroupRequest(
            version=5,
            group_id=self.group,
            session_timeout_ms=2000,
            rebalance_timeout_ms=2000,
            member_id=self.name,
            protocol_type="consumer",
            protocols=[protocol],
        )
        return self.ask(request, JoinGroupResponse)

    def sync(self, joined: Any) -> Any:
        share = partial(SyncGroupRequest.SyncGroupRequestAssignment, version=2, assignment=SHARE)
        request = SyncGroupRequest(
            version=2,
            group_id=self.group,
            generation_id=joined.generation_id,
            member_id=self.name,
            assignments=[share(member_id=one.member_id) for one in joined.members],
        )
        return self.ask(request, SyncGroupResponse)

    def leave(self) -> None:
        self.ask(LeaveGroupRequest(version=2, group_id=self.group, member_id=self.name), LeaveGroupResponse)

    def gets_its_share(self, *, within_s: float) -> bool:
        """Join and ask for a share until there is one."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            joined = self.join()
            if joined.error_code == 0 and self.sync(joined).assignment == SHARE:
                return True
        return False


def test_a_leader_that_leaves_before_it_has_shared_out_holds_up_nobody(link, unmended, topic):
    def other_gets_its_share(at: TcpAddress, group: str) -> bool:
        with closing(Joining(at, group)) as one, closing(Joining(at, group)) as another:
            with ThreadPoolExecutor() as pool:
                joined = list(pool.map(Joining.join, (one, another)))
            leader, other = (one, another) if joined[0].members else (another, one)
            assert {each.leader for each in joined} == {leader.name}
            leader.leave()
            return other.gets_its_share(within_s=8)

    with ThreadPoolExecutor() as pool:
        waiting = [
            pool.submit(other_gets_its_share, way.address, f"{topic}-{way is link}")
            for way in (link, unmended)
        ]
        assert [each.result() for each in waiting] == [True, False]


def produced(link: Link, topic: str, *, epoch: int) -> int:
    """The error of one record of an idempotent producer, its first in that epoch."""
    with closing(Raw(link.address)) as raw:
        asked = InitProducerIdRequest(version=3, transactional_id=None, transaction_timeout_ms=1000)
        producer = raw.ask(asked, InitProducerIdResponse).producer_id
        raw.ask(written(topic, producer=producer, epoch=0), ProduceResponse)
        answer = raw.ask(written(topic, producer=producer, epoch=epoch), ProduceResponse)
    error: int = answer.responses[0].partition_responses[0].error_code
    return error


def written(topic: str, *, producer: int, epoch: int) -> ProduceRequest:
    batch = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=producer,
        producer_epoch=epoch,
        base_sequence=0,
        batch_size=1000,
    )
    batch.append(0, 1, None, f"epoch {epoch}".encode(), [])
    in_topic = ProduceRequest.TopicProduceData
    partition = in_topic.PartitionProduceData(version=7, index=0, records=bytes(batch.build()))
    topics = [in_topic(version=7, name=topic, partition_data=[partition])]
    return ProduceRequest(version=7, transactional_id=None, acks=-1, timeout_ms=1000, topic_data=topics)


def test_a_producer_goes_on_in_an_epoch_that_it_began_by_itself(broker, link, unmended, topic):
    """As Kafka's own client does after a time-out."""
    assert produced(link, topic, epoch=1) == 0
    assert produced(unmended, topic, epoch=1) != 0
    assert records_in(broker, topic) == 3


def test_who_wants_no_acknowledgement_gets_none(link, unmended, topic):
    """Tansu gives one all the same; the link could not follow that connection any further."""
    for way, first_answer in ((link, MetadataResponse), (unmended, ProduceResponse)):
        record = written(topic, producer=-1, epoch=-1)
        record.acks = 0
        asked = framed(record, correlation=1) + framed(MetadataRequest(version=5, topics=[]), correlation=2)
        with closing(Raw(way.address)) as raw:
            answer = first_answer.decode(raw.ask_with(asked), version=5, header=True, framed=True)

        assert answer.header.correlation_id == (2 if way is link else 1)
    assert [message.api for message in link.messages] == ["Produce", "Metadata"]
    with pytest.raises(Inconclusive, match="cannot be followed"):
        _ = unmended.messages


def test_a_fetch_that_may_not_wait_brings_what_is_there(link, unmended, topic):
    filled(link, topic)

    assert fetched(link.address, topic, wait_ms=0).high_watermark == 30
    assert fetched(unmended.address, topic, wait_ms=0) is None


def test_a_waiting_fetch_brings_a_record_soon(link, topic):
    """Not half of its wait later, here 5 s."""
    consumer = KafkaConsumer(bootstrap_servers=str(link.address), fetch_max_wait_ms=10_000)
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek_to_beginning()
    with closing(consumer), producing(link) as producer:
        assert consumer.poll(200) == {}
        producer.send(topic, b"new").get(PATIENCE_S)
        begin = time.monotonic()

        assert consumer.poll(PATIENCE_S * 1000)
    assert time.monotonic() - begin < 2.0


# Apache's broker, where only addresses change


@pytest.fixture(scope="module")
def apache() -> Iterator[Service]:
    with Run.open() as run, Containers(run).open("kafka") as service:
        yield service


@pytest.mark.docker
@CLIENTS
def test_clients_of_apache_kafka_do_all_they_do_through_the_link(loop, apache, client):
    assert apache.mend is None
    topic = new_topic(apache)
    with linked(loop, apache, mend=apache.mend) as link:
        assert talk_of(client, link, topic) == [["1", "2", "3"], [3], [link.address.port]]

        told = [(message.api, message.topics) for message in link.messages]
        assert told.count(("Produce", (topic,))) == 3
        assert ("OffsetCommit", (topic,)) in told
