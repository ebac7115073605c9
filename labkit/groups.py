"""Consumer groups of Tansu, the embedded broker, relieved of leaders that have left.

Kafka gives a group another leader when its leader leaves. Tansu does so only for a group that has
shared out its partitions: where the leader leaves between joining and sharing out, all others are told
to join again, for ever. So somebody finishes in its name: joins as the leader, gives out nothing, and
leaves; the others then join a group that looks for a leader. Measured on Tansu 0.6.0.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka.protocol.api_key import ApiKey
from kafka.protocol.consumer import (
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    LeaveGroupResponse,
    SyncGroupRequest,
    SyncGroupResponse,
)

from labkit.kafkawire import Ask, Frame, decoded, encoded

if TYPE_CHECKING:
    from labkit.services import TcpAddress

# Of the newest kinds that are not flexible.
_JOIN_VERSION, _SYNC_VERSION, _LEAVE_VERSION = 5, 2, 2
# An assignment of version 0 with no topic and no data of the assignor's.
_NOTHING = struct.pack("!hii", 0, 0, -1)
_PATIENCE_S = 10.0
_SIZE = struct.Struct("!i")


class Groups:
    """The groups of the broker at `address`, as the links of all processes see them."""

    def __init__(self, address: TcpAddress) -> None:
        self._address = address
        self._left: set[tuple[str, str]] = set()
        self._buried: set[tuple[str, str]] = set()

    def watched(self, frame: Frame, asks: list[Ask]) -> list[Ask]:
        """The same asks; what they and their answers say of groups is noted."""
        if frame.api == ApiKey.LeaveGroup:
            request = decoded(LeaveGroupRequest, frame.data, frame.version)
            names = [request.member_id] if request.member_id else [one.member_id for one in request.members]
            self._left.update((request.group_id, name) for name in names)
        if frame.api != ApiKey.JoinGroup:
            return asks
        *before, last = asks
        request = decoded(JoinGroupRequest, last.data, frame.version)
        return [*before, Ask(last.data, partial(self._joined, frame, request, last))]

    def _joined(self, frame: Frame, request: Any, ask: Ask, data: bytes) -> bytes:
        """The answer to one who joined; its leader may have left before, or while this was on its way."""
        answer = decoded(JoinGroupResponse, data, frame.version)
        leader = request.group_id, answer.leader
        if answer.error_code == 0 and leader in self._left - self._buried:
            self._buried.add(leader)
            threading.Thread(target=self._bury, args=(answer.leader, request), daemon=True).start()
        return ask.given(data)

    def _bury(self, leader: str, joined: Any) -> None:
        group = joined.group_id
        with suppress(OSError, ValueError, struct.error), _Broker(self._address) as broker:
            answer = broker.ask(_join_as(leader, joined), JoinGroupResponse)
            if answer.error_code == 0 and answer.leader == leader:
                broker.ask(_share_out_nothing(group, leader, answer), SyncGroupResponse)
            leaving = LeaveGroupRequest(version=_LEAVE_VERSION, group_id=group, member_id=leader)
            broker.ask(leaving, LeaveGroupResponse)
            return
        self._buried.discard((group, leader))  # the broker went away; whoever joins next tries again


class _Broker:
    """A connection to the broker itself."""

    def __init__(self, address: TcpAddress) -> None:
        self._socket = socket.create_connection((address.host, address.port), timeout=_PATIENCE_S)

    def __enter__(self) -> _Broker:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, request: Any, answer: Any) -> Any:
        request.with_header(1)
        self._socket.sendall(encoded(request))
        with self._socket.makefile("rb") as came:
            size = came.read(_SIZE.size)
            data = size + came.read(*_SIZE.unpack(size))
        return decoded(answer, data, request.version)


def _join_as(leader: str, joined: Any) -> Any:
    protocol = JoinGroupRequest.JoinGroupRequestProtocol
    return JoinGroupRequest(
        version=_JOIN_VERSION,
        group_id=joined.group_id,
        session_timeout_ms=joined.session_timeout_ms,
        rebalance_timeout_ms=joined.session_timeout_ms,
        member_id=leader,
        protocol_type=joined.protocol_type,
        protocols=[
            protocol(version=_JOIN_VERSION, name=one.name, metadata=one.metadata) for one in joined.protocols
        ],
    )


def _share_out_nothing(group: str, leader: str, answer: Any) -> Any:
    assignment = SyncGroupRequest.SyncGroupRequestAssignment
    return SyncGroupRequest(
        version=_SYNC_VERSION,
        group_id=group,
        generation_id=answer.generation_id,
        member_id=leader,
        assignments=[
            assignment(version=_SYNC_VERSION, member_id=one.member_id, assignment=_NOTHING)
            for one in answer.members
        ],
    )
