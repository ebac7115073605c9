"""Outside parties that a grader plays: who called is known, and what they do is up to a script."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import requests

from labkit.loop import Loop
from labkit.outsiders import LARGEST_BODY, Call, Entrance, Gate, Outsider, Reply

PATIENCE_S = 10.0


class Scripted:
    """Answers as it is told, and remembers the calls."""

    def __init__(self, loop: Loop) -> None:
        self.calls: list[Call] = []
        self.gate = Gate(loop)

    async def answer(self, call: Call) -> Reply | None:
        self.calls.append(call)
        if call.path == "/cut":
            return None
        if call.path == "/held":
            await self.gate.passed()
        if call.path == "/broken":
            raise LookupError("the script has no such line")
        return Reply(201, b'{"taken": true}')


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop.open() as opened:
        yield opened


@pytest.fixture
def outsider(loop: Loop) -> Scripted:
    return Scripted(loop)


@pytest.fixture
def entrance(loop: Loop, outsider: Scripted) -> Iterator[Entrance]:
    with closing(entrance_for(loop, outsider, "worker-1")) as opened:
        yield opened


def entrance_for(loop: Loop, outsider: Outsider, process: str) -> Entrance:
    entrance = Entrance(loop, outsider, process=process, clock=lambda: 7.5)
    entrance.open()
    return entrance


def post(entrance: Entrance, path: str, body: bytes = b"{}") -> requests.Response:
    url = f"http://{entrance.address}{path}"
    return requests.post(url, data=body, headers={"Idempotency-Key": "k-1"}, timeout=PATIENCE_S)


def begun(act: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_a_call_is_answered_and_recorded_whole(entrance, outsider):
    answer = post(entrance, "/jobs?a=1", b'{"n": 2}')

    assert (answer.status_code, answer.json()) == (201, {"taken": True})
    assert answer.headers["Content-Type"] == "application/json"
    (call,) = outsider.calls
    assert (call.process, call.method, call.path, call.body) == ("worker-1", "POST", "/jobs?a=1", b'{"n": 2}')
    assert call.headers["idempotency-key"] == "k-1"
    assert call.at == 7.5


def spoken_to(entrance: Entrance) -> socket.socket:
    host, _, port = entrance.address.partition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_S)


def head(*lines: str, length: int) -> bytes:
    return "\r\n".join(
        ["POST /jobs HTTP/1.1", "Host: partner", *lines, f"Content-Length: {length}", "", ""]
    ).encode()


def answer_on(connection: socket.socket) -> bytes:
    """Until the end of its body."""
    came = b""
    while not came.endswith(b'{"taken": true}'):
        more = connection.recv(1 << 16)
        assert more, came
        came += more
    return came


@pytest.mark.parametrize("expectation", ["100-continue", "100-Continue"])
def test_a_caller_that_waits_to_be_told_so_sends_its_body(entrance, outsider, expectation):
    with spoken_to(entrance) as connection:
        for number in range(2):
            connection.sendall(head(f"Expect: {expectation}", length=8))
            assert connection.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(b'{"n": %d}' % number)

            assert answer_on(connection).startswith(b"HTTP/1.1 201 Created\r\n")

    assert [call.body for call in outsider.calls] == [b'{"n": 0}', b'{"n": 1}']


def test_a_caller_that_offers_http_2_is_served_as_it_is(entrance, outsider):
    """As Java's HttpClient does by default, with each request until it has an answer."""
    offer = (
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk",
    )
    with spoken_to(entrance) as connection:
        for number in range(2):
            connection.sendall(head(*offer, length=8) + b'{"n": %d}' % number)
            assert answer_on(connection).startswith(b"HTTP/1.1 201 Created\r\n")

        connection.sendall(head(*offer, length=8))
        time.sleep(0.1)  # a body that comes in pieces
        connection.sendall(b'{"n": 2}')
        assert answer_on(connection).startswith(b"HTTP/1.1 201 Created\r\n")

    assert [call.body for call in outsider.calls] == [b'{"n": %d}' % number for number in range(3)]


def test_each_process_has_an_address_of_its_own(loop, entrance, outsider):
    with closing(entrance_for(loop, outsider, "worker-2")) as other:
        post(other, "/")
        post(entrance, "/")

    assert [call.process for call in outsider.calls] == ["worker-2", "worker-1"]


def test_a_cut_call_gets_no_answer(entrance):
    with pytest.raises(requests.ConnectionError):
        post(entrance, "/cut")
    assert post(entrance, "/").status_code == 201
    assert entrance.fault is None


def test_an_answer_waits_at_a_gate_until_that_is_opened(entrance, outsider):
    statuses: list[int] = []
    held = begun(lambda: statuses.append(post(entrance, "/held").status_code))

    assert outsider.gate.reached.wait(PATIENCE_S)
    assert post(entrance, "/").status_code == 201, "others pass meanwhile"
    assert statuses == []

    outsider.gate.open()
    held.join(PATIENCE_S)
    assert statuses == [201]
    assert post(entrance, "/held").status_code == 201, "it stays open"


def test_refused_connections_are_let_in_again_at_the_same_address(entrance):
    session = requests.Session()
    url = f"http://{entrance.address}/"
    assert session.post(url, timeout=PATIENCE_S).status_code == 201

    entrance.refuse()
    with pytest.raises(requests.ConnectionError):
        session.post(url, timeout=PATIENCE_S)

    entrance.open()
    assert requests.post(url, timeout=PATIENCE_S).status_code == 201


def test_refusing_twice_and_closing_while_an_answer_waits_does_no_harm(loop, outsider):
    entrance = entrance_for(loop, outsider, "web-1")
    ended = threading.Event()

    def ask() -> None:
        with pytest.raises(requests.ConnectionError):
            post(entrance, "/held")
        ended.set()

    asking = begun(ask)
    assert outsider.gate.reached.wait(PATIENCE_S)
    entrance.refuse()
    entrance.refuse()
    entrance.close()

    assert ended.wait(PATIENCE_S)
    asking.join()


def test_a_mistake_of_the_script_is_the_kits_own_fault(entrance):
    with pytest.raises(requests.ConnectionError):
        post(entrance, "/broken")

    assert isinstance(entrance.fault, LookupError)


def test_a_body_beyond_all_measure_is_refused(entrance, outsider):
    assert post(entrance, "/", b"x" * (LARGEST_BODY + 1)).status_code == 413
    assert outsider.calls == []


def test_what_is_no_http_disturbs_nobody(loop, entrance, caplog):
    host, _, port = entrance.address.partition(":")

    async def babble() -> bytes:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"\x00\x01 no http \r\n\r\n")
        return await reader.read()

    assert b"400" in loop.run(babble())
    assert post(entrance, "/").status_code == 201
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


def test_a_caller_that_left_is_known_to_be_gone(entrance, outsider):
    def leave() -> None:
        with pytest.raises(requests.Timeout):
            requests.post(f"http://{entrance.address}/held", data=b"{}", timeout=0.2)

    leaving = begun(leave)
    assert outsider.gate.reached.wait(PATIENCE_S)
    (call,) = outsider.calls
    assert not call.gone()
    leaving.join(PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    while not call.gone() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert call.gone()
    outsider.gate.open()
