"""What the grader's client sends, what it makes of the answers, and when it gives up."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace

import pytest

from labkit.client import Client, Done, Exchange, Request
from labkit.loop import Loop
from labkit.ports import free_port, own_socket
from labkit.pulse import Pulse

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
PING = Request(process="web-1", path="/api/ping")
Answer = Callable[[socket.socket, bytes], None]


class Server:
    """Calls `answer` with each connection and the head of the request on it, in a thread of its own."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.heads: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(1 << 16)
            self.heads.append(head)
            self._answer(connection, head)


class LatePulse:
    """The pulse of a machine that is always late by so many seconds."""

    def __init__(self, late: float) -> None:
        self._late = late

    def late_between(self, begin: float, end: float) -> float:  # noqa: ARG002 - always the same
        return self._late

    def starved_between(self, begin: float, end: float) -> bool:  # noqa: ARG002 - always the same
        return True

    def starved_for(self, begin: float, end: float) -> float:
        return (end - begin) / 4


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop.open() as opened:
        yield opened


@contextmanager
def client_of(loop: Loop, address: str, *, late: float | None = None) -> Iterator[Client]:
    with Pulse.open(time.monotonic) as pulse:
        watched = pulse if late is None else LatePulse(late)
        client = Client.open(
            loop,
            watched,  # type: ignore[arg-type]
            clock=time.monotonic,
            address_of=lambda _: address,
            socket_of=lambda _: own_socket(),
        )
        with client as opened:
            yield opened


@contextmanager
def serving(
    loop: Loop, answer: bytes | Answer, *, late: float | None = None
) -> Iterator[tuple[Client, Server]]:
    server = Server(answer if callable(answer) else lambda connection, _: connection.sendall(answer))
    with closing(server), client_of(loop, server.address, late=late) as client:
        yield client, server


def exchange(loop: Loop, answer: bytes | Answer, *, deadline_s: float = 20.0) -> Exchange:
    """What comes of one request to a server that answers so."""
    with serving(loop, answer) as (client, _):
        return client.send(PING, deadline_s=deadline_s)


@pytest.mark.parametrize("path", ["/api/items/a%2Fb%20c", "/api/../x//y/./", "/?q=%7e+&b=%C3%BC;c", "/%"])
def test_paths_go_out_exactly_as_they_are(loop, path):
    with serving(loop, OK) as (client, server):
        client.send(Request(process="web-1", path=path))

    assert server.heads[0].split(b"\r\n")[0] == f"GET {path} HTTP/1.1".encode()


def test_headers_and_bodies_go_out_as_they_are(loop):
    headers = {"X-Api-Key": "", "x-other": 'a, b;  c="d"', "X-Forwarded-For": "10.0.0.1"}
    with serving(loop, OK) as (client, server):
        client.send(Request(process="web-1", path="/", method="PATCH", headers=headers, body=b"{"))

    lines = server.heads[0].split(b"\r\n")
    assert lines[0] == b"PATCH / HTTP/1.1"
    assert b"X-Api-Key: " in lines
    assert b'x-other: a, b;  c="d"' in lines
    assert b"X-Forwarded-For: 10.0.0.1" in lines
    assert b"Content-Length: 1" in lines
    assert lines[-1] in (b"", b"{")


def test_an_answer_as_it_came(loop):
    got = exchange(
        loop,
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nX-RateLimit-Remaining:0\r\n"
        b"Content-Length: 9\r\n\r\n" + b'{"a": 12}',
    )

    assert (got.status, got.failure, got.done) == (429, None, Done.YES)
    assert (got.headers["retry-after"], got.headers["x-ratelimit-remaining"]) == ("3", "0")
    assert got.json() == {"a": 12}


def test_a_body_that_is_no_json_is_none(loop):
    got = exchange(loop, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{\xff}")

    assert (got.body, got.json()) == (b"{\xff}", None)


def test_neither_redirects_nor_cookies_are_followed(loop):
    moved = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    with serving(loop, moved) as (client, server):
        assert [client.send(PING).status for _ in range(2)] == [302, 302]

    assert len(server.heads) == 2
    assert b"cookie" not in server.heads[1].lower()


def test_each_request_has_a_connection_of_its_own(loop):
    """A connection that has been idle may be closed at any moment, and nobody knows what was done."""
    ports: list[int] = []

    def answer(connection: socket.socket, _: bytes) -> None:
        ports.append(connection.getpeername()[1])
        connection.sendall(OK)

    with serving(loop, answer) as (client, _):
        assert [client.send(PING).status for _ in range(3)] == [200] * 3
    assert len(set(ports)) == 3


def test_the_interval_brackets_the_decision(loop):
    decided: dict[bytes, float] = {}

    def answer(connection: socket.socket, head: bytes) -> None:
        decided[head.split()[1]] = time.monotonic()
        connection.sendall(OK)

    requests = [Request(process="web-1", path=f"/{number}") for number in range(60)]
    with serving(loop, answer) as (client, _):
        before = time.monotonic()
        exchanges = client.burst(requests)
        after = time.monotonic()

    assert [got.request for got in exchanges] == requests
    for got in exchanges:
        assert before <= got.sent <= decided[got.request.path.encode()] <= got.received <= after


def test_a_slow_body_does_not_widen_the_interval(loop):
    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{")
        time.sleep(0.5)
        answered.append(time.monotonic())
        connection.sendall(b"}")

    answered: list[float] = []
    got = exchange(loop, answer)

    assert got.status == 200
    assert got.received < answered[0]


def test_paced_requests_do_not_wait_for_each_other(loop):
    def answer(connection: socket.socket, _: bytes) -> None:
        time.sleep(0.5)
        connection.sendall(OK)

    with serving(loop, answer) as (client, _):
        exchanges = client.paced([PING] * 10, every=0.05)

    sent = [got.sent - exchanges[0].sent for got in exchanges]
    assert all(moment >= number * 0.05 - 0.01 for number, moment in enumerate(sent))
    assert all(got.status == 200 for got in exchanges)
    assert exchanges[-1].received - exchanges[0].sent < 3.0, "one by one they take 5 s"


def test_a_request_that_was_begun_is_answered_meanwhile(loop):
    go = threading.Event()

    def answer(connection: socket.socket, _: bytes) -> None:
        go.wait(20)
        connection.sendall(OK)

    with serving(loop, answer) as (client, _):
        begun = client.begin(PING)
        assert not begun.done()
        go.set()

        assert begun.result(20).status == 200


@pytest.mark.parametrize(
    "first", [b"", b"HTTP/1.1 200 OK\r\nX-", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"]
)
def test_dripping_bytes_do_not_prolong_the_deadline(loop, first):
    def drip(connection: socket.socket, _: bytes) -> None:
        connection.sendall(first)
        while first:
            time.sleep(0.02)
            connection.sendall(b"x")
        time.sleep(20)

    begin = time.monotonic()
    got = exchange(loop, drip, deadline_s=0.3)

    assert (got.status, got.failure, got.done) == (None, "no answer within 0.3 s", Done.UNKNOWN)
    assert 0.3 <= got.received - got.sent <= time.monotonic() - begin < 5.0


def test_a_request_may_have_a_deadline_of_its_own(loop):
    with serving(loop, lambda *_: time.sleep(2)) as (client, _):
        got = client.begin(Request("web-1", "/", deadline_s=0.2)).result()

    assert got.failure == "no answer within 0.2 s"


def test_an_endless_answer_is_given_up_early(loop):
    sent = 0

    def pour(connection: socket.socket, _: bytes) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (200 << 20))
        for _ in range(200):
            connection.sendall(b"x" * (1 << 20))
            sent += 1

    got = exchange(loop, pour)

    assert (got.status, got.failure) == (None, "an answer longer than 1 MiB")
    assert sent < 50


@pytest.mark.parametrize(("size", "failure"), [(1000, None), (100 << 20, "an answer longer than 1 MiB")])
def test_a_packed_answer_is_unpacked_within_the_same_bounds(loop, size, failure):
    body = gzip.compress(b" " * size + b"{}", 1)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)

    got = exchange(loop, head + body)

    assert got.failure == failure
    assert (got.json() == {}) is (failure is None)


def test_a_refused_connection_is_not_done(loop):
    with free_port() as lease, client_of(loop, f"127.0.0.1:{lease.port}") as client:
        got = client.send(PING)

    assert (got.status, got.failure, got.done) == (None, "connection refused", Done.NO)


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"", "connection closed without an answer"),
        (b"220 mail.example.org ESMTP\r\n", "an answer that is not HTTP"),
        (b"\x00\x01\x02\r\n\r\n", "an answer that is not HTTP"),
        (b"HTTP/1.1 99999 Odd\r\n\r\n", "an answer that is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n", "an answer that is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "an answer that broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", "an answer that broke off"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
            "an answer that broke off",
        ),
    ],
    ids=["nothing", "mail", "noise", "status", "header", "short", "chunk", "gzip"],
)
def test_what_is_no_answer_leaves_open_what_was_done(loop, answer, failure):
    got = exchange(loop, answer)

    assert (got.status, got.failure, got.done) == (None, failure, Done.UNKNOWN)


def test_a_reset_connection_leaves_open_what_was_done(loop):
    def reset(connection: socket.socket, _: bytes) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    got = exchange(loop, reset)

    assert (got.failure, got.done) == ("connection closed without an answer", Done.UNKNOWN)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST"])
@pytest.mark.parametrize("linger", [b"\0" * 8, b"\1" + b"\0" * 7], ids=["closed", "reset"])
def test_no_request_is_ever_sent_again_unseen(loop, method, linger):
    """It may have been carried out: a second one would be charged to the service."""

    def end(connection: socket.socket, _: bytes) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    with closing(Server(end)) as server, client_of(loop, server.address) as client:
        got = client.send(replace(PING, method=method))

    assert (got.failure, got.done) == ("connection closed without an answer", Done.UNKNOWN)
    assert len(server.heads) == 1


def test_a_late_machine_prolongs_the_deadline(loop):
    def answer(connection: socket.socket, _: bytes) -> None:
        time.sleep(0.6)
        connection.sendall(OK)

    with serving(loop, answer, late=10.0) as (client, _):
        got = client.send(PING, deadline_s=0.2)

    assert (got.status, got.failure) == (200, None)
    assert (got.took_s, got.starved) == (0.0, True)


def test_what_no_want_of_processors_explains_is_told_apart(loop):
    def answer(connection: socket.socket, _: bytes) -> None:
        time.sleep(0.4)
        connection.sendall(OK)

    with serving(loop, answer, late=0.0) as (client, _):
        got = client.send(PING)

    assert got.starved_s == pytest.approx(got.took_s / 4)
    assert got.surely_took_s == pytest.approx(got.took_s * 3 / 4)


def test_a_late_machine_is_not_waited_for_for_ever(loop):
    with serving(loop, lambda *_: time.sleep(20), late=0.2) as (client, _):
        got = client.send(PING, deadline_s=0.2)

    assert got.failure == "no answer within 0.2 s"
    assert got.received - got.sent >= 0.6


def test_thousands_of_requests_are_all_accounted_for(loop):
    def answer(connection: socket.socket, head: bytes) -> None:
        number = int(head.split()[1][1:])
        body = json.dumps(number).encode()
        if number % 7:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    requests = [Request(process="web-1", path=f"/{number}") for number in range(700)]
    with serving(loop, answer) as (client, _):
        exchanges: Sequence[Exchange] = client.burst(requests)

    assert [got.json() for got in exchanges] == [number if number % 7 else None for number in range(700)]
    assert sum(got.done is Done.UNKNOWN for got in exchanges) == 100


@pytest.mark.parametrize(("margin_s", "starved"), [(0.01, False), (0.2, True)])
def test_what_the_grader_itself_held_tells_of_no_starved_process(loop, margin_s, starved):
    def answer(connection: socket.socket, _: bytes) -> None:
        time.sleep(0.5)
        connection.sendall(OK)

    with serving(loop, answer, late=0.0) as (client, _):
        got = client.send(PING)
        less = client.less_hold(got, got.sent + margin_s, got.received - 0.01)

        assert got.starved
        assert less.starved is starved
        assert client.starved_lately(less) is starved
        assert client.less_hold(got, got.sent + margin_s, got.received - 0.01) == less
