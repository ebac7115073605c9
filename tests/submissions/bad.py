"""A service that misbehaves in the way that its first argument names; only the standard library."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ADDRESS = (os.environ["HOST"], int(os.environ["PORT"]))


def exits_at_once() -> None:
    print("cannot read config.yaml: no such file", file=sys.stderr)
    sys.exit(3)


def never_listens() -> None:
    print("warming up", flush=True)
    time.sleep(60)


def listens_on_another_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        say_ready(listener)
        time.sleep(60)


def floods_its_output() -> None:
    line = b"x" * 4095 + b"\n"
    for _ in range((1 << 30) // len(line)):
        os.write(1, line)
    time.sleep(60)


def leaves_stubborn_children() -> None:
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    for new_session in (False, True):
        subprocess.Popen([sys.executable, "-c", child], start_new_session=new_session)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve(lambda handler: handler.reply(500, b"{}"))


def fails_its_health() -> None:
    serve(lambda handler: handler.reply(200, b"{}"), health=lambda handler: handler.reply(500, b"{}"))


def answers_200_megabytes() -> None:
    def reply(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(200 << 20))
        handler.end_headers()
        for _ in range(200):
            handler.wfile.write(b"x" * (1 << 20))

    serve(reply)


def answers_never() -> None:
    serve(lambda _: time.sleep(60))


def never_answers_its_health() -> None:
    serve(lambda handler: handler.reply(200, b"{}"), health=lambda _: time.sleep(60))


def drips_its_health() -> None:
    def drip(handler: Handler) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 60:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.5)

    serve(lambda handler: handler.reply(200, b"{}"), health=drip)


def closes_every_connection() -> None:
    accept_each(lambda connection: connection.close())


def speaks_no_http() -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(b"220 mail.example.org ESMTP\r\n")
        connection.close()

    accept_each(greet)


class Handler(BaseHTTPRequestHandler):
    """Answers /healthz and everything else by functions of the server."""

    def do_GET(self) -> None:
        answer = self.server.health if self.path == "/healthz" else self.server.other  # type: ignore[attr-defined]
        answer(self)

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def serve(other: Callable[[Handler], None], *, health: Callable[[Handler], None] | None = None) -> None:
    server = ThreadingHTTPServer(ADDRESS, Handler)
    server.other = other  # type: ignore[attr-defined]
    server.health = health or (lambda handler: handler.reply(200, b"{}"))  # type: ignore[attr-defined]
    say_ready(server.socket)
    server.serve_forever()


def accept_each(answer: Callable[[socket.socket], None]) -> None:
    with socket.create_server(ADDRESS) as listener:
        say_ready(listener)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=answer, args=(connection,)).start()


def say_ready(listener: socket.socket) -> None:
    print("listening on port", listener.getsockname()[1], flush=True)


globals()[sys.argv[1]]()
