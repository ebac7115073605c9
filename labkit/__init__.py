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
    from labkit.jsonvalues import json_differences, load_json, said_as_json
    from labkit.kafkawire import Message
    from labkit.loop import Loop
    from labkit.outsiders import Call, Gate, Outsider, Reply
    from labkit.pgwire import Statement
    from labkit.result import EvidenceRow
    from labkit.topics import unread
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
    "json_differences": "jsonvalues",
    "load_json": "jsonvalues",
    "rows_of": "evidence",
    "said_as_json": "jsonvalues",
    "shortened": "evidence",
    "unread": "topics",
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
    "json_differences",
    "load_json",
    "rows_of",
    "said_as_json",
    "shortened",
    "unread",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"labkit.{_HOMES[name]}"), name)
