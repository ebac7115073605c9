"""labkit: backend labs, graded as black boxes on real services.

The names here are what graders import.
"""

from labkit.arena import Arena, Setup
from labkit.checks import CheckFailed, Inconclusive, check, expect
from labkit.client import Exchange, Request
from labkit.evidence import rows_of, shortened
from labkit.result import EvidenceRow

__all__ = [
    "Arena",
    "CheckFailed",
    "EvidenceRow",
    "Exchange",
    "Inconclusive",
    "Request",
    "Setup",
    "check",
    "expect",
    "rows_of",
    "shortened",
]
