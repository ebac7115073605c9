"""Proof by interval: laws as pure functions over what a grader recorded.

A request was decided at some unknown moment between its sending and its answer. Each law returns a
`Violation` only where every placement in those intervals breaks it, and None otherwise: a slow
machine can hide a fault, but never make one up.
"""

from labkit.history.bursts import burst_excess, burst_shortfall, repeated_excess
from labkit.history.decision import Decision, Outcome, Placed, Violation
from labkit.history.deliveries import Answered, Delivery, earliest_end, overtaking, repetition
from labkit.history.limiting import Algorithm, over_admission
from labkit.history.offsets import Entry, Sample, overcommitment, step_back
from labkit.history.refills import refill_excess, refill_shortfall
from labkit.history.rejections import unexplained_rejection, unjustified_rejection
from labkit.history.versions import Read, Write, invented_read, lost_update, stale_read

__all__ = [
    "Algorithm",
    "Answered",
    "Decision",
    "Delivery",
    "Entry",
    "Outcome",
    "Placed",
    "Read",
    "Sample",
    "Violation",
    "Write",
    "burst_excess",
    "burst_shortfall",
    "earliest_end",
    "invented_read",
    "lost_update",
    "over_admission",
    "overcommitment",
    "overtaking",
    "refill_excess",
    "refill_shortfall",
    "repeated_excess",
    "repetition",
    "stale_read",
    "step_back",
    "unexplained_rejection",
    "unjustified_rejection",
]
