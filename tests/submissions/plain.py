"""A service that answers everything with what it was started with; SIGTERM ends it with a code of choice."""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType

CODE = int(os.environ.get("CODE", "0"))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        facts = {**os.environ, "pid": os.getpid(), "cwd": str(Path.cwd()), "argv": sys.argv[1:]}
        body = json.dumps(facts).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def leave(_: int, __: FrameType | None) -> None:
    print("leaving", flush=True)
    os._exit(CODE)


signal.signal(signal.SIGTERM, leave if CODE >= 0 else signal.SIG_IGN)
ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
