"""`python -m labkit.services.keeper ORDER`: has services running, lends them out, ends when it is asked to.

ORDER is {"provider": "containers" | "embedded", "counts": {KIND: how many}} in JSON. Once all are ready
it writes `{}` to stdout, else the error that it ends with. It keeps its services in a run of its own, so
nothing outlives it either, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil

from labkit.errors import LabkitError, UsageError
from labkit.run import Run
from labkit.services.choice import own_provider
from labkit.services.lending import Keeper, Kept
from labkit.services.loans import Facts, in_words
from labkit.services.pool import Pool, lock_path, written


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False  # who still has a loan would keep us for ever
    request_queue_size = 64

    def __init__(self, path: str, keeper: Keeper) -> None:
        self.keeper = keeper
        super().__init__(path, _Handler)


class _Handler(socketserver.StreamRequestHandler):
    """One connection: a question, and on a loan what the borrower asks until it leaves."""

    def handle(self) -> None:
        assert isinstance(self.server, _Server)
        keeper = self.server.keeper
        with contextlib.suppress(OSError):  # whoever asked is gone
            for question in self._questions():
                if question["want"] == "loan":
                    self._lend(keeper, question)
                elif question["want"] == "end":
                    self._answer(keeper.end(force=question["force"]))
                else:
                    self._answer(keeper.standing())

    def _lend(self, keeper: Keeper, question: Facts) -> None:
        borrower = {"pid": question["pid"], "command": question["command"]}
        server = keeper.lend(question["kind"], question["image"], borrower)
        if server is None:
            self._answer({})
            return
        try:
            self._answer(server.facts)
            for wish in self._questions():
                self._answer(_tried(server, wish))
        finally:
            keeper.take_back(server)

    def _questions(self) -> Iterator[Facts]:
        for line in self.rfile:
            yield json.loads(line)

    def _answer(self, answer: Facts) -> None:
        self.wfile.write(json.dumps(answer).encode() + b"\n")


def _tried(server: Kept, wish: Facts) -> Facts:
    try:
        return server.obey(wish)
    except LabkitError as error:
        return in_words(error)


@contextmanager
def _listening(path: Path, keeper: Keeper) -> Iterator[None]:
    with _Server(str(path), keeper) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()


def _keep(order: Facts) -> None:
    with ExitStack() as stack:
        lock = stack.enter_context(lock_path().open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError("services are being started or ended already") from None
        run = stack.enter_context(Run.open())
        provider = own_provider(order["provider"], run)
        kinds = [kind for kind, count in order["counts"].items() for _ in range(count)]
        keeper = Keeper([Kept(provider, kind) for kind in kinds])
        stack.callback(keeper.close)
        keeper.open()
        path = run.folder / "keeper"
        stack.enter_context(_listening(path, keeper))
        stack.enter_context(written(_pool(run, order, path)))
        _say({})
        keeper.wait()


def _pool(run: Run, order: Facts, path: Path) -> Pool:
    address = ""
    if order["provider"] == "containers":
        from labkit.services.engine import address_for_reaper

        address = address_for_reaper()
    return Pool(
        pid=os.getpid(),
        born=psutil.Process().create_time(),
        run=run.id,
        temp=str(run.folder.parent),
        provider=order["provider"],
        kinds=list(order["counts"]),
        engine=address,
        socket=str(path),
        kit=version("portfolio-labkit"),
    )


def _say(answer: Facts) -> None:
    """Tell whoever started us, who then leaves. Raises BrokenPipeError where that left before."""
    print(json.dumps(answer), flush=True)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _leave(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - as signal.signal wants it
    # Raised in the main thread, wherever that is: a lock that it holds would wait for itself otherwise.
    sys.exit(0)


def main() -> int:
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        _keep(json.loads(sys.argv[1]))
    except LabkitError as error:
        _say(in_words(error))
        return 3
    except BrokenPipeError:
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
