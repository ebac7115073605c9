"""TCP ports on the loopback address that nobody takes between our choice and the server's bind."""

from __future__ import annotations

import secrets
import socket
import time
from types import TracebackType

LOOPBACK = "127.0.0.1"
# Below Linux's ephemeral ports (32768 and up): no outgoing connection can be given one of these.
LOWEST, HIGHEST = 15000, 32000
GUARD_OFFSET = 20000
_REBIND_WITHIN_S = 1.0


def own_socket() -> socket.socket:
    """A TCP socket whose 127.0.0.1 is this machine's."""
    # Only where the protocol is named, asyncio turns Nagle's algorithm off, also for what is accepted:
    # else an answer that is passed on in two pieces takes 40 ms, until the first is acknowledged.
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)


class PortLease:
    """A free TCP port at 127.0.0.1, ours until `release` or the end of the process.

    Other graders on the machine keep off it as well: whoever holds the UDP port 20000 above it has it.
    """

    def __init__(self, port: int, guard: socket.socket) -> None:
        self.port = port
        self._guard = guard

    def release(self) -> None:
        self._guard.close()

    def __enter__(self) -> PortLease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def free_port() -> PortLease:
    """Choose a port at random. Raises OSError if a thousand tries find none."""
    for _ in range(1000):
        lease = _try_port(LOWEST + secrets.randbelow(HIGHEST - LOWEST + 1))
        if lease is not None:
            return lease
    raise OSError(f"no free TCP port from {LOWEST} to {HIGHEST}")


def _try_port(port: int) -> PortLease | None:
    guard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        guard.bind((LOOPBACK, port + GUARD_OFFSET))
        with socket.socket() as probe:
            # Without SO_REUSEADDR, which on macOS would let the bind pass beside a wildcard listener.
            probe.bind((LOOPBACK, port))
    except OSError:
        guard.close()
        return None
    return PortLease(port, guard)


def bound_socket(listener: socket.socket, port: int) -> socket.socket:
    """The socket, bound to the port on the loopback address, not listening yet."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setblocking(False)
    deadline = time.monotonic() + _REBIND_WITHIN_S
    while True:
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            # A program that is being started holds copies of our sockets until it is loaded.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.001)
        else:
            return listener
