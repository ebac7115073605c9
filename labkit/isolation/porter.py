"""Hands out TCP sockets of the network in which it runs, and tells who else listens there.

The grader gives the text of this file to a Python in a container without a network, so it imports
the standard library alone. A socket belongs for good to the network in which it was made: with these
the grader listens and connects at the container's own 127.0.0.1, and the system there refuses, resets
and queues connections as it does outside. No byte passes through here.

It connects to the Unix-domain socket that is its argument, answers requests of one byte, and ends
when that connection does.
"""

import os
import socket
import sys

SOCKETS = b"s"  # answer: one byte, with sockets
LISTENING = b"l"  # answer: one byte, then the ports on which other users listen, in ASCII
AT_ONCE = 16
_LISTEN = "0A"


def main(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as grader:
        grader.connect(path)
        while request := grader.recv(1):
            if request == SOCKETS:
                give_sockets(grader)
            else:
                grader.send(b"." + " ".join(map(str, listening(besides=os.getuid()))).encode())


def give_sockets(grader: socket.socket) -> None:
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(AT_ONCE)]
    socket.send_fds(grader, [b"."], [given.fileno() for given in sockets])
    for given in sockets:
        given.close()


def listening(*, besides: int) -> list[int]:
    """Ports on which others than the user `besides` listen."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table, encoding="ascii") as lines:  # noqa: PTH123 - loads faster than pathlib
            next(lines)
            for line in lines:
                _, local, _, state, _, _, _, user, *_ = line.split()
                if state == _LISTEN and int(user) != besides:
                    found.add(int(local.rpartition(":")[2], 16))
    return sorted(found)


if __name__ == "__main__":
    main(sys.argv[1])
