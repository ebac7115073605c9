"""What the author of a check imports: `check`, `expect`, and the ways to end without a verdict.

A check is a function `test_<id>(bench)` in `graders/<lab>/test_<stage>.py`. Its docstring is one
sentence, the promise that the learner reads. It acts through the lab's bench and judges with
`expect`, or raises CheckFailed for a law that `labkit.history` proves broken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from labkit.result import EvidenceRow

_LONGEST_SAID = 300
F = TypeVar("F", bound=Callable[..., None])
Hints = Mapping[Any, str] | Sequence[tuple[Callable[[Any], bool], str]]


@dataclass(frozen=True)
class CheckFacts:
    """What the decorator says of a check.

    points  earned when it passes; a lab's add up to 100
    kills   names of the mutants that must fall to it
    arena   name of the lab's arena (`bench.ARENAS`) in which it runs
    gate    nothing else can be judged unless it passes: all other checks are skipped
    needs   id of the check without which this one says nothing: it is skipped if that one fails
    alone   it breaks things in an arena that others share: it runs when these have ended
    """

    points: int
    kills: tuple[str, ...]
    arena: str
    gate: bool = False
    needs: str | None = None
    alone: bool = False


def check(
    *,
    points: int,
    kills: Sequence[str],
    arena: str,
    gate: bool = False,
    needs: str | None = None,
    alone: bool = False,
) -> Callable[[F], F]:
    """Mark a function as a check. See CheckFacts for the arguments."""

    def mark(function: F) -> F:
        facts = CheckFacts(
            points=points, kills=tuple(kills), arena=arena, gate=gate, needs=needs, alone=alone
        )
        function.__check__ = facts  # type: ignore[attr-defined]
        return function

    return mark


class CheckFailed(AssertionError):
    """A promise was proven broken. All texts are for the learner.

    `sure` says that not even a starved machine can explain it; without that the bench is asked for
    its `doubt()`, if it has one: why the machine may be at fault, or None.
    """

    def __init__(
        self,
        *,
        expected: str,
        observed: str,
        hint: str | None = None,
        evidence: Sequence[EvidenceRow] = (),
        reading: str | None = None,
        sure: bool = False,
    ) -> None:
        super().__init__(f"expected {expected}; observed {observed}")
        self.expected = expected
        self.observed = observed
        self.hint = hint
        self.evidence = tuple(evidence)
        self.reading = reading
        self.sure = sure


class Inconclusive(Exception):
    """Nothing can be said: the machine or the grader's own services got in the way."""


def expect(
    observed: Any,
    *,
    equals: Any = ...,
    at_most: Any = ...,
    at_least: Any = ...,
    one_of: Sequence[Any] = (),
    unit: str = "",
    hints: Hints = (),
    evidence: Sequence[EvidenceRow] | Callable[[], Sequence[EvidenceRow]] = (),
    reading: str | None = None,
    sure: bool = False,
) -> None:
    """Judge one value: `equals`, `one_of`, or within `at_least` and `at_most`; else CheckFailed.

    `unit` follows the numbers in both sentences ("of 60 requests admitted"). `hints` maps an
    observed value, or a predicate on it, to what it tells; only a match is shown. A value that
    cannot be compared with a bound is not within it: a service may answer anything. `evidence` may
    be a function, called only when the check fails. `reading` names a heading of the lab's brief.
    `sure` is told by CheckFailed.
    """
    wanted = _violated(observed, equals, at_most, at_least, one_of)
    if wanted is None:
        return
    raise CheckFailed(
        expected=f"{wanted} {unit}".strip(),
        observed=f"{_say(observed)} {unit}".strip(),
        hint=_earned(observed, hints),
        evidence=evidence() if callable(evidence) else evidence,
        reading=reading,
        sure=sure,
    )


def _violated(observed: Any, equals: Any, at_most: Any, at_least: Any, one_of: Sequence[Any]) -> str | None:
    """The expectation in words, if the value breaks it."""
    if equals is not ...:
        return None if observed == equals else _say(equals)
    if one_of:
        return None if observed in one_of else _say_choice(one_of)
    above = at_most is not ... and not _is_in_order(observed, at_most)
    below = at_least is not ... and not _is_in_order(at_least, observed)
    if not (above or below):
        return None
    if at_most is not ... and at_least is not ...:
        return f"{_say(at_least)} to {_say(at_most)}"
    return f"at most {_say(at_most)}" if above else f"at least {_say(at_least)}"


def _is_in_order(less: Any, more: Any) -> bool:
    try:
        return bool(less <= more)
    except TypeError:
        return False


def _say_choice(choices: Sequence[Any]) -> str:
    if isinstance(choices, range):
        return f"{choices[0]} to {choices[-1]}"
    return " or ".join(_say(choice) for choice in choices)


def _say(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    text = "nothing" if value in (None, "") else str(value)
    return text if len(text) <= _LONGEST_SAID else f"{text[:_LONGEST_SAID]}… ({len(text)} characters)"


def _earned(observed: Any, hints: Hints) -> str | None:
    if isinstance(hints, Mapping):
        return next((text for value, text in hints.items() if value == observed), None)
    for matches, text in hints:
        # Meant for the values that are likely; one that nobody thought of has earned no hint.
        with suppress(Exception):
            if matches(observed):
                return text
    return None
