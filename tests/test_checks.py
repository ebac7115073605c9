"""What `expect` says of a value that is not as it should be, and of one that it never thought of."""

from __future__ import annotations

from typing import Any

import pytest

from labkit.checks import CheckFailed, check, expect
from labkit.result import EvidenceRow


def failure(observed: Any, **wanted: Any) -> CheckFailed:
    with pytest.raises(CheckFailed) as caught:
        expect(observed, **wanted)
    return caught.value


@pytest.mark.parametrize(
    ("observed", "wanted"),
    [
        (3, {"equals": 3}),
        (None, {"equals": None}),
        ([1], {"equals": [1]}),
        (3, {"at_most": 3}),
        (3, {"at_least": 3}),
        (3, {"at_least": 3, "at_most": 3}),
        ("open", {"one_of": ["open", "closed"]}),
        (5, {"one_of": range(1, 6)}),
    ],
)
def test_what_is_as_it_should_be_passes(observed, wanted):
    expect(observed, **wanted, evidence=lambda: pytest.fail("nobody asked"))


@pytest.mark.parametrize(
    ("observed", "wanted", "expected", "seen"),
    [
        (4, {"equals": 3}, "3 of 9", "4 of 9"),
        (None, {"equals": 3}, "3 of 9", "nothing of 9"),
        ("", {"equals": "x"}, "x of 9", "nothing of 9"),
        (4, {"at_most": 3}, "at most 3 of 9", "4 of 9"),
        (2, {"at_least": 3}, "at least 3 of 9", "2 of 9"),
        (2, {"at_least": 3, "at_most": 5}, "3 to 5 of 9", "2 of 9"),
        (0.123456, {"at_least": 0.25}, "at least 0.25 of 9", "0.123 of 9"),
        (6, {"one_of": range(1, 6)}, "1 to 5 of 9", "6 of 9"),
        ("x", {"one_of": ["open", "closed"]}, "open or closed of 9", "x of 9"),
        (["a", "b"], {"equals": []}, "none of 9", "a, b of 9"),
    ],
)
def test_both_sentences_come_from_the_judged_values(observed, wanted, expected, seen):
    failed = failure(observed, **wanted, unit="of 9")

    assert (failed.expected, failed.observed) == (expected, seen)
    assert str(failed) == f"expected {expected}; observed {seen}"


@pytest.mark.parametrize("observed", [None, "12", [12], {"a": 12}, float("nan")])
@pytest.mark.parametrize("wanted", [{"at_most": 20}, {"at_least": 1}, {"at_least": 1, "at_most": 20}])
def test_what_cannot_be_compared_is_not_within_bounds(observed, wanted):
    """A service may answer anything, and that is its own fault, not the kit's."""
    assert failure(observed, **wanted).observed


def test_a_hint_is_earned_by_the_observed_value():
    hints = {30: "each replica counts for itself", 0: "nothing is let through"}

    assert failure(30, equals=10, hints=hints).hint == "each replica counts for itself"
    assert failure(0, equals=10, hints=hints).hint == "nothing is let through"
    assert failure(29, equals=10, hints=hints).hint is None
    assert failure(30, equals=10).hint is None


def test_the_first_predicate_that_holds_gives_the_hint():
    hints = [(lambda value: value > 20, "far too many"), (lambda value: value > 10, "too many")]

    assert failure(30, equals=10, hints=hints).hint == "far too many"
    assert failure(12, equals=10, hints=hints).hint == "too many"
    assert failure(9, equals=10, hints=hints).hint is None


@pytest.mark.parametrize("observed", [None, "x", [1], {"a": 1}])
def test_hints_never_break_on_a_value_nobody_thought_of(observed):
    assert failure(observed, equals=10, hints={30: "thrice"}).hint is None
    hints = [(lambda value: value.lower() > 5, "lower"), (lambda _: True, "whatever it is")]
    assert failure(observed, equals=10, hints=hints).hint == "whatever it is"


def test_evidence_is_gathered_only_when_it_is_needed():
    rows = [EvidenceRow(at=None, who="web-1", what="GET /")]

    assert failure(1, equals=2, evidence=lambda: rows).evidence == tuple(rows)
    assert failure(1, equals=2, evidence=rows, reading="Words").reading == "Words"


def test_a_very_long_value_is_cut():
    failed = failure("x" * 1_000_000, equals="y")

    assert failed.observed == "x" * 300 + "… (1000000 characters)"


def test_what_the_decorator_says_of_a_check():
    @check(points=3, kills=["a", "b"], arena="steady", needs="first")
    def judged(_bench: Any) -> None:
        """It holds."""

    facts = judged.__check__  # type: ignore[attr-defined]
    assert (facts.points, facts.kills, facts.arena, facts.gate, facts.needs) == (
        3,
        ("a", "b"),
        "steady",
        False,
        "first",
    )
