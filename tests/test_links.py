"""What a link does to the traffic of one process, and what it leaves alone."""

from __future__ import annotations

import gc
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from labkit.links import Link
from labkit.loop import Loop
from labkit.ports import own_socket
from labkit.services import TcpAddress

GET = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
PATIENCE_S = 20.0


class Upstream:
    """A service of a few lines; `talk` is what it does with each connection, in a thread of its own."""

    def __init__(self, talk: Callable[[socket.socket], None]) -> None:
        self._talk = talk
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = TcpAddress("127.0.0.1", self._listener.getsockname()[1])
        self.arrived = b""
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self._talk(connection)

    def answer(self, connection: socket.socket) -> None:
        """Note what arrives; answer each command with its number, as Redis would."""
        while data := connection.recv(1 << 16):
            self.arrived += data
            connection.sendall(b":%d\r\n" % self.arrived.count(GET[:3]) * data.count(GET[:3]))


@contextmanager
def serving(talk: Callable[[socket.socket], None] | None = None) -> Iterator[Upstream]:
    upstream = Upstream(talk or (lambda connection: upstream.answer(connection)))
    with closing(upstream):
        yield upstream


@contextmanager
def linked(loop: Loop, upstream: Upstream, *, service: str = "redis") -> Iterator[Link]:
    link = Link(loop, process="web-1", service=service, upstream=upstream.address)
    link.open()
    with closing(link):
        yield link


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop.open() as opened:
        yield opened


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with serving() as opened:
        yield opened


@pytest.fixture
def link(loop: Loop, upstream: Upstream) -> Iterator[Link]:
    with linked(loop, upstream) as opened:
        yield opened


def connected(link: Link) -> socket.socket:
    return socket.create_connection((link.address.host, link.address.port), timeout=PATIENCE_S)


def ask(connection: socket.socket) -> bytes:
    connection.sendall(GET)
    return connection.recv(100)


def rest_of(connection: socket.socket) -> bytes:
    """All that comes until the other end closes."""
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def is_refused(link: Link) -> bool:
    try:
        connected(link).close()
    except ConnectionRefusedError:
        return True
    return False


def is_cut(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@pytest.mark.parametrize("service", ["redis", "kafka"])
def test_bytes_pass_unharmed_in_both_directions(loop, service):
    """More than fits into any buffer, so that both ends have to wait for each other."""
    size = 8 << 20
    noise = os.urandom(size)
    value = b"*2\r\n$3\r\nSET\r\n$%d\r\n%b\r\n" % (size, noise)

    def mirror(connection: socket.socket) -> None:
        received = b""
        while len(received) < len(value):
            received += connection.recv(1 << 20)
        connection.sendall(received)

    with serving(mirror) as upstream, linked(loop, upstream, service=service) as link:
        with connected(link) as connection:
            connection.sendall(value)

            assert rest_of(connection) == value
        assert link.flights == (1 if service == "redis" else 0)


def test_flights_of_all_connections_are_counted(link):
    with connected(link) as first, connected(link) as second:
        for _ in range(3):
            ask(first)
        first.sendall(GET * 5)
        first.recv(100)
        ask(second)

    assert link.flights == 5


def test_a_delay_is_added_to_each_answer_and_answers_do_not_queue(link):
    link.delay(0.3)
    connections = [connected(link) for _ in range(20)]
    begin = time.monotonic()
    for connection in connections:
        connection.sendall(GET)
    for connection in connections:
        connection.recv(100)
        assert time.monotonic() - begin >= 0.3
        connection.close()

    assert time.monotonic() - begin < 3.0


def test_answers_keep_their_order_when_a_delay_is_lifted(link, upstream):
    with connected(link) as connection:
        link.delay(0.5)
        connection.sendall(GET)
        wait_until(lambda: upstream.arrived == GET)
        time.sleep(0.05)
        link.delay(0.0)
        connection.sendall(GET)
        answers = b""
        while len(answers) < len(b":1\r\n:2\r\n"):
            answers += connection.recv(100)

    assert answers == b":1\r\n:2\r\n"


def test_what_is_held_arrives_in_order_when_it_is_released(link, upstream):
    with connected(link) as connection, connected(link) as other:
        ask(connection)
        link.hold_after(1)

        assert ask(connection) == b":2\r\n"
        assert not link.held.is_set()

        connection.sendall(GET)
        assert link.held.wait(PATIENCE_S)
        connection.sendall(b"*1\r\n$4\r\nLAST\r\n")
        other.sendall(b"*1\r\n$5\r\nOTHER\r\n")
        wait_until(lambda: link.flights == 4)
        time.sleep(0.05)
        assert upstream.arrived == GET * 2

        link.release()
        wait_until(lambda: b"LAST" in upstream.arrived and b"OTHER" in upstream.arrived)
        assert upstream.arrived.index(GET, len(GET) * 2) < upstream.arrived.index(b"LAST")
        connection.recv(100)
        upstream.arrived = b""
        ask(connection)
        assert upstream.arrived == GET


def test_nothing_of_a_process_killed_while_it_is_held_arrives(link, upstream):
    """The crash point: the write that was on its way is never made."""
    connection = connected(link)
    link.hold_after(0)
    connection.sendall(GET)
    assert link.held.wait(PATIENCE_S)
    # what the system does with the sockets of a process that is killed, data unread or not
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    time.sleep(0.05)
    link.release()

    with connected(link) as other:
        ask(other)
    assert upstream.arrived == GET


def test_nothing_of_a_process_that_closes_while_it_is_held_arrives(link, upstream):
    link.hold_after(0)
    with connected(link) as connection:
        connection.sendall(GET)
        assert link.held.wait(PATIENCE_S)
    time.sleep(0.05)
    link.release()

    with connected(link) as other:
        ask(other)
    assert upstream.arrived == GET


def test_a_cut_ends_all_connections_and_lets_new_ones_through(link):
    connections = [connected(link) for _ in range(3)]
    for connection in connections:
        ask(connection)

    link.cut()

    assert all(is_cut(connection) for connection in connections)
    with connected(link) as connection:
        assert ask(connection).startswith(b":")


def test_a_cut_while_something_is_held_drops_it(link, upstream):
    link.hold_after(0)
    with connected(link) as connection:
        connection.sendall(GET)
        assert link.held.wait(PATIENCE_S)
        link.cut()
        link.release()
        assert is_cut(connection)
    with connected(link) as connection:
        ask(connection)

    assert upstream.arrived == GET


def test_a_refused_link_refuses_and_opens_again_on_its_port(link):
    before = link.address
    with connected(link) as connection:
        ask(connection)
        link.refuse()
        assert is_cut(connection)
    assert is_refused(link)

    link.open()

    assert link.address == before
    with connected(link) as connection:
        assert ask(connection).startswith(b":")


def test_a_connection_that_is_being_made_does_not_survive_a_refusal(loop, upstream):
    """Neither do those that wait in the system's queue, which the link has not even seen."""
    with linked(loop, upstream) as link:
        for _ in range(20):
            connections = [connected(link) for _ in range(5)]
            link.refuse()
            for connection in connections:
                with closing(connection):
                    assert is_cut(connection)
            link.open()


def test_refusing_and_opening_while_programs_are_started(link):
    """Between fork and exec a child holds copies of our sockets, the listening ones too."""
    ended = threading.Event()

    def start_programs() -> None:
        while not ended.is_set():
            # with a user the interpreter forks, as it does for Postgres; without, it only vforks
            subprocess.run([sys.executable, "-S", "-c", ""], user=os.getuid(), check=True)

    starter = threading.Thread(target=start_programs)
    starter.start()
    try:
        for _ in range(15):
            link.refuse()
            assert is_refused(link)
            link.open()
            with connected(link) as connection:
                assert ask(connection).startswith(b":")
    finally:
        ended.set()
        starter.join()


def test_an_answer_in_pieces_waits_for_no_acknowledgement(link):
    with connected(link) as connection:
        ask(connection)
        (accepted,) = [one._down.get_extra_info("socket") for one in link._connections]

        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_answer_arrives_though_the_process_has_said_all_it_had_to_say(link):
    link.delay(0.1)
    with connected(link) as connection:
        connection.sendall(GET)
        connection.shutdown(socket.SHUT_WR)

        assert rest_of(connection) == b":1\r\n"


def test_a_long_farewell_arrives_whole_though_the_process_reads_slowly(loop):
    farewell = b"x" * (8 << 20)

    with (
        serving(lambda connection: connection.sendall(farewell)) as upstream,
        linked(loop, upstream, service="kafka") as link,
        connected(link) as connection,
    ):
        time.sleep(0.3)

        assert len(rest_of(connection)) == len(farewell)


def test_the_service_learns_that_a_process_is_gone(loop):
    gone = threading.Event()

    def wait(connection: socket.socket) -> None:
        is_cut(connection)
        gone.set()

    with serving(wait) as upstream, linked(loop, upstream) as link:
        connected(link).close()

        assert gone.wait(PATIENCE_S)


def test_a_service_that_is_down_closes_connections_until_it_is_back(loop, upstream):
    with linked(loop, upstream) as link:
        upstream.close()
        with connected(link) as connection:
            assert is_cut(connection)

        back = socket.create_server(("127.0.0.1", upstream.address.port))
        with back, connected(link) as connection:
            connection.sendall(GET)
            served, _ = back.accept()
            with served:
                assert served.recv(100) == GET


def test_closing_ends_connections_and_gives_the_port_back(loop, upstream):
    with linked(loop, upstream) as link:
        connection = connected(link)
        ask(connection)

    assert is_cut(connection)
    connection.close()
    assert is_refused(link)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((link.address.host, link.address.port))


def test_closing_takes_no_socket_of_a_place_that_may_be_closed_already(loop, upstream):
    sockets = [own_socket()]
    link = Link(loop, process="web-1", service="redis", upstream=upstream.address, new_socket=sockets.pop)
    link.open()
    connection = connected(link)
    assert ask(connection) == b":1\r\n"

    link.close()

    assert is_cut(connection)
    assert is_refused(link)


def test_closing_in_the_middle_of_a_conversation_says_nothing(loop, upstream, caplog):
    with linked(loop, upstream) as link:
        connection = connected(link)
        ask(connection)
    connection.close()

    loop.call(gc.collect)
    assert caplog.messages == []


def test_a_fault_of_the_link_itself_ends_the_connection_and_is_told(loop, upstream, monkeypatch):
    def breaks(*_: object) -> bool:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr("labkit.resp.Conversation.sent", breaks)
    with linked(loop, upstream) as link:
        with connected(link) as connection:
            connection.sendall(GET)

            assert is_cut(connection)
        assert isinstance(link.fault, ZeroDivisionError)
