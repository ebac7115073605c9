"""Errors that a user can meet.

LabkitError                 said in two lines: what happened, what to do
├── UsageError              wrong use: an option, a folder, a file          exit 3
│   ├── UnknownName         a lab, check, stage … that does not exist       exit 3
│   └── ManifestError       a lab.toml that cannot be used                  exit 3
├── ServiceError            the kit could not run Redis, Postgres or Kafka  exit 3
│   ├── ServiceDown         one of them does not answer                     exit 3
│   └── FaultUnavailable    a fault that cannot be done to it here          exit 3
└── SubmissionError         the submission itself cannot run                exit 1
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class LabkitError(Exception):
    """What happened, in a sentence, and `remedy`: what the reader can do about it."""

    exit_code = 3

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class UsageError(LabkitError):
    """The kit was asked for something that it cannot do."""


class UnknownName(UsageError):
    """`name` is none of the `known` things of its `kind`; the closest ones are suggested."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        choices = sorted(known)
        remedy = did_you_mean(name, choices)
        if remedy is None:
            remedy = f"there is: {', '.join(choices)}" if choices else f"there is no {kind} at all"
        super().__init__(f"there is no {kind} {name!r}", remedy=remedy)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A question with the closest of the known names, or None if none is close."""
    close = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else None


@dataclass(frozen=True)
class Problem:
    """One fault of a manifest: the key where it is (dotted) and what is wrong with it."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}" if self.key else self.text


class ManifestError(UsageError):
    """Everything that is wrong with one lab.toml, all at once."""

    def __init__(self, path: str, problems: Sequence[Problem], *, remedy: str | None = None) -> None:
        lines = "".join(f"\n  {problem}" for problem in problems)
        super().__init__(f"{path} cannot be used:{lines}", remedy=remedy)
        self.path = path
        self.problems = tuple(problems)


class ServiceError(LabkitError):
    """A service could not be started, stopped or spoken to: not the learner's fault."""


class ServiceDown(ServiceError):
    """A service did not answer a round trip."""


class FaultUnavailable(ServiceError):
    """This provider cannot do that to a service; what needs it stays without a verdict."""


class SubmissionError(LabkitError):
    """The submission cannot be started or does not become healthy, or has ended by itself.

    `output` has its last lines, `promised` what it should have been.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        remedy: str | None = None,
        output: Sequence[str] = (),
        promised: str = "a process that answers GET /healthz with 200 within 15 s of its start",
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.output = tuple(output)
        self.promised = promised
