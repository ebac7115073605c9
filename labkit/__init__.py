"""labkit: backend labs, graded as black boxes on real services.

The names here are what graders import. They are loaded when first used: `lab list` and
`grade --help` need none of what stands behind them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.answers import answered, is_problem
    from labkit.arena import Arena
    from labkit.checks import CheckFailed, Inconclusive, check, expect
    from labkit.client import Exchange, Request
    from labkit.evidence import rows_of, shortened
    from labkit.ground import Setup
    from labkit.kafkawire import Message
    from labkit.loop import Loop
    from labkit.outsiders import Call, Gate, Outsider, Reply
    from labkit.pgwire import Statement
    from labkit.result import EvidenceRow
    from labkit.traps import Trap, Way

_HOMES = {
    "Arena": "arena",
    "Call": "outsiders",
    "CheckFailed": "checks",
    "EvidenceRow": "result",
    "Exchange": "client",
    "Gate": "outsiders",
    "Inconclusive": "checks",
    "Loop": "loop",
    "Message": "kafkawire",
    "Outsider": "outsiders",
    "Reply": "outsiders",
    "Request": "client",
    "Setup": "ground",
    "Statement": "pgwire",
    "Trap": "traps",
    "Way": "traps",
    "answered": "answers",
    "check": "checks",
    "expect": "checks",
    "is_problem": "answers",
    "rows_of": "evidence",
    "shortened": "evidence",
}

__all__ = [
    "Arena",
    "Call",
    "CheckFailed",
    "EvidenceRow",
    "Exchange",
    "Gate",
    "Inconclusive",
    "Loop",
    "Message",
    "Outsider",
    "Reply",
    "Request",
    "Setup",
    "Statement",
    "Trap",
    "Way",
    "answered",
    "check",
    "expect",
    "is_problem",
    "rows_of",
    "shortened",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"labkit.{_HOMES[name]}"), name)
