"""Starts, watches, signals and stops the processes of a submission, and keeps their last lines."""

from __future__ import annotations

import collections
import contextlib
import socket
import threading
import time
from collections.abc import Callable

from labkit.client import REFUSED, Client, Request
from labkit.errors import SubmissionError
from labkit.ports import PortLease, free_port
from labkit.pulse import Pulse
from labkit.run import Run
from labkit.runtime import Child, Command, Place

HEALTH_DEADLINE_S = 15.0
STOP_DEADLINE_S = 8.0
_SHORTEST_TRY_S = 1.0
LONGEST_OUTPUT = 64 << 20
_KEPT_LINES = 200
_LONGEST_LINE = 400
_HOST = "127.0.0.1"


class Output:
    """The last lines of what a process wrote; ends the process if that grows beyond all measure."""

    def __init__(self, child: Child, flooded: Callable[[], None]) -> None:
        self._lines: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self._partial = b""
        self._size = 0
        self._flooded = flooded
        self._thread = threading.Thread(target=self._pump, args=(child,), daemon=True)
        self._thread.start()

    @property
    def too_long(self) -> bool:
        return self._size > LONGEST_OUTPUT

    def lines(self, most: int = 12) -> list[str]:
        """The last complete lines, and the last incomplete one."""
        lines = [*self._lines, _text(self._partial)] if self._partial else list(self._lines)
        return lines[-most:]

    def settle(self) -> None:
        """Wait until all that an ended process wrote has been read."""
        self._thread.join(timeout=1)

    def _pump(self, child: Child) -> None:
        # Closed before the child is killed: an engine ends no container whose output nobody takes.
        with contextlib.closing(child.output()) as chunks:
            for data in chunks:
                self._size += len(data)
                *lines, rest = (self._partial + data).split(b"\n")
                self._lines.extend(_text(line) for line in lines[-_KEPT_LINES:])
                self._partial = rest[-_LONGEST_LINE:]
                if self.too_long:
                    break
        if self.too_long:
            self._flooded()


def _text(line: bytes) -> str:
    return line[:_LONGEST_LINE].decode("utf-8", "replace").rstrip("\r")


class Process:
    """One process of a submission. `start` may be called again after it has ended.

    One that does not listen, a worker say, is healthy as soon as it runs.

    changed  variables that it is given other values of from its next start on
    """

    def __init__(
        self, run: Run, pulse: Pulse, command: Command, place: Place, *, listens: bool = True
    ) -> None:
        self.name = command.name
        self.listens = listens
        self.changed: dict[str, str] = {}
        self._run = run
        self._pulse = pulse
        self._command = command
        self._place = place
        self._child: Child | None = None
        self._output: Output | None = None
        self._lease: PortLease | None = None

    @property
    def address(self) -> str:
        """host:port that it was told to listen on; another one after each start."""
        assert self._lease is not None, "not started"
        return f"{_HOST}:{self._lease.port}"

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.code is None

    @property
    def frozen(self) -> bool:
        """Whether it has been paused, and has stopped."""
        return self.running and self._child is not None and self._child.frozen

    def new_socket(self) -> socket.socket:
        """A TCP socket that reaches `address`."""
        return self._place.new_socket()

    def tail(self, most: int = 12) -> list[str]:
        """The last lines that it wrote to stdout and stderr."""
        if self._output is None:
            return []
        if not self.running:
            self._output.settle()
        return self._output.lines(most)

    def start(self) -> None:
        """Start it on a fresh port. Raises SubmissionError if the command cannot be run."""
        if self._lease is not None:
            self._lease.release()
        self._lease = free_port()
        env = {**self._command.env, **self.changed, "HOST": _HOST, "PORT": str(self._lease.port)}
        self._child = self._place.start(self._command, env)
        self._output = Output(self._child, self.kill)

    def wait_healthy(self, client: Client, stopped: Callable[[], bool] = lambda: False) -> None:
        """Wait for a 200 to GET /healthz. Raises SubmissionError with what happened instead."""
        if not self.listens:
            return
        request = Request(process=self.name, path="/healthz")
        begin = self._run.clock()
        seen = "it was given no time"
        while (left := self._time_left(begin)) > 0 and not stopped():
            self.raise_if_ended()
            # The last try is given time as well: what it would have said is the reason that is shown.
            answer = client.send(request, deadline_s=max(left, _SHORTEST_TRY_S))
            if answer.status == 200:
                return
            seen = answer.failure or f"its status was {answer.status}"
            time.sleep(0.02)
        if not stopped():
            self.raise_if_ended()
            raise self._unhealthy(seen)

    def wait(self, deadline_s: float) -> int | None:
        """Its exit code, or None if it still runs after `deadline_s` and the machine's own delay."""
        assert self._child is not None
        begin = self._run.clock()
        code = self._child.wait(deadline_s)
        if code is None:
            code = self._child.wait(self._pulse.late_between(begin, self._run.clock()))
        return code

    def terminate(self, *, then: Callable[[], None] | None = None) -> int | None:
        """Ask it to stop by SIGTERM; its exit code, or None if it had to be killed after 8 s.

        `then` is called in between.
        """
        assert self._child is not None
        self._child.terminate()
        if then is not None:
            then()
        code = self.wait(STOP_DEADLINE_S)
        self.kill()
        return code

    def kill(self) -> None:
        """Kill it and all that it started."""
        if self._child is not None:
            self._child.kill()

    def pause(self) -> None:
        """Freeze it and all that it started."""
        assert self._child is not None
        self._child.pause()

    def resume(self) -> None:
        assert self._child is not None
        self._child.resume()

    def close(self) -> None:
        """Kill it, then give its place and its port back: another's must not meet what is left of it."""
        self.kill()
        self._place.close()
        if self._lease is not None:
            self._lease.release()

    def _time_left(self, begin: float) -> float:
        now = self._run.clock()
        return begin + HEALTH_DEADLINE_S + self._pulse.late_between(begin, now) - now

    def raise_if_ended(self) -> None:
        """Raises SubmissionError, with its last lines, where it has ended by itself."""
        assert self._child is not None
        if self._child.code is None or self._output is None:
            return
        output = self.tail()
        if self._output.too_long:
            raise SubmissionError(
                f"{self.name} was ended: it wrote more than {LONGEST_OUTPUT >> 20} MiB of output",
                remedy="log a line a request at the most",
                output=output,
            )
        raise self._ended_by_itself(output)

    def _ended_by_itself(self, output: list[str]) -> SubmissionError:
        assert self._child is not None
        remedy, ending = self._place.spelled(self._command.argv), self._child.ending
        if self.listens:
            message = f"{self.name} ended by itself before it answered /healthz: {ending}"
            return SubmissionError(message, remedy=remedy, output=output)
        message = f"{self.name} ended by itself: {ending}"
        promised = "a process that runs until it is told to stop"
        return SubmissionError(message, remedy=remedy, output=output, promised=promised)

    def _unhealthy(self, seen: str) -> SubmissionError:
        message = f"{self.name} did not answer GET /healthz with 200 within {HEALTH_DEADLINE_S:g} s: {seen}"
        assert self._child is not None
        elsewhere = [port for port in self._child.listening() if f"{_HOST}:{port}" != self.address]
        remedy = "GET /healthz has to work without any service and without a key"
        if seen == REFUSED:
            remedy = f"it has to listen on HOST:PORT of its environment, here {self.address}"
        if seen == REFUSED and elsewhere:
            remedy += f"; it listens on port {', '.join(map(str, elsewhere))} instead"
        return SubmissionError(message, remedy=remedy, output=self.tail())


def run_to_end(place: Place, command: Command, *, deadline_s: float) -> None:
    """Run a set-up or migration to its end. Raises SubmissionError unless it ends with code 0."""
    child = place.start(command, command.env)
    output = Output(child, child.kill)
    code = child.wait(deadline_s)
    child.kill()
    output.settle()
    if code != 0:
        ending = child.ending if code is not None else f"still running after {deadline_s:g} s"
        raise SubmissionError(
            f"{command.name} failed: {ending}",
            remedy=place.spelled(command.argv),
            output=output.lines(),
        )
