"""What the processes of a submission run as, behind one small interface.

`unconfined` runs them as process groups of this machine, `isolation` as containers that reach
nothing but their services and the grader. A *runtime* opens a *place* for each process; a place
starts one *child* after another.
"""

from __future__ import annotations

import socket
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from labkit.submission import Submission


@dataclass(frozen=True)
class Command:
    """How a process is started.

    name    unique: "web-1", "setup"
    argv    program and arguments, run without a shell
    folder  the submission's; the working directory, or what that is made from
    env     the whole environment, without HOST and PORT
    """

    name: str
    argv: Sequence[str]
    folder: Path
    env: Mapping[str, str]


class Child(Protocol):
    """A started program with everything that it started itself. Signals to an ended one do nothing."""

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs; -N where signal N ended it, if that is known."""

    @property
    def ending(self) -> str:
        """How it ended, in words: "exit code 1"."""

    def output(self) -> Generator[bytes]:
        """What it writes to stdout and stderr, as it comes. What is left when it is closed is lost."""

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code, or None where it still runs after that time."""

    def terminate(self) -> None:
        """SIGTERM."""

    def kill(self) -> None:
        """SIGKILL to all of it; returns when it has ended."""

    def pause(self) -> None:
        """Freeze all of it."""

    def resume(self) -> None:
        """Let it go on."""

    @property
    def frozen(self) -> bool:
        """Whether it has stopped since `pause`, all of it."""

    def listening(self) -> list[int]:
        """TCP ports on which it listens."""


class Place(Protocol):
    """Where one process of a submission lives, through all its restarts."""

    def new_socket(self) -> socket.socket:
        """A TCP socket whose 127.0.0.1 is the process's; callable from any thread."""

    def start(self, command: Command, env: Mapping[str, str]) -> Child:
        """Start `command` in the environment `env`. Raises SubmissionError if it cannot be run."""

    def spelled(self, argv: Sequence[str]) -> str:
        """What a person may do to see the command fail."""

    def close(self) -> None:
        """Give the place back; its child has been killed."""


class Runtime(Protocol):
    """Opens places. `note` says for the report what processes run as, where that is not the usual."""

    note: str | None

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process has in its environment before the lab adds to it."""

    def skewed(self, seconds: float) -> Mapping[str, str]:
        """What makes a process see a clock that is so much ahead; empty where that cannot be done."""

    def set_up(self, submission: Submission) -> None:
        """Prepare what processes are started from, once. Raises SubmissionError if that fails."""

    def open(self, name: str) -> Place:
        """A place for the process of that name."""
