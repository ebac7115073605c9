"""How the cache layer's grader compares JSON values: as values, numbers exactly, false never as 0."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.judging import load_bench

GRADER = Path(__file__).parent.parent / "graders" / "cache_layer"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def values() -> ModuleType:
    bench = load_bench(GRADER)
    return sys.modules[f"{bench.__package__}.values"]


@given(JSON)
def test_a_value_does_not_differ_from_itself(values, value):
    loaded = values.load(json.dumps(value))

    assert list(values.differences(loaded, values.load(json.dumps(value, ensure_ascii=False)))) == []


@pytest.mark.parametrize(
    ("stored", "answered", "said"),
    [
        ("9007199254740993", "9007199254740992", "the body is 9007199254740992, not 9007199254740993"),
        ("0", "false", "the body is false, not 0"),
        ("true", "1", "the body is 1, not true"),
        ('""', "null", 'the body is null, not ""'),
        ("{}", "null", "the body is null, not {}"),
        ("[]", "{}", "the body is {}, not []"),
        ('{"a": {"b": [1, 2]}}', '{"a": {"b": [1, 3]}}', "a.b[1] is 3, not 2"),
        ('{"a": 1}', "{}", "a is missing"),
        ("{}", '{"a": 1}', "a is there, which nobody has stored"),
        ('"5"', "5", 'the body is 5, not "5"'),
    ],
)
def test_what_differs_is_said(values, stored, answered, said):
    assert list(values.differences(values.load(stored), values.load(answered))) == [said]


@pytest.mark.parametrize(("one", "other"), [("10", "10.0"), ("0.1", "1e-1"), ('"é"', r'"\u00e9"')])
def test_the_same_value_may_be_written_in_two_ways(values, one, other):
    assert list(values.differences(values.load(one), values.load(other))) == []


def test_a_product_may_have_further_members_but_lacks_none(values):
    product = {
        "id": 1, "name": "n", "description": None, "price_cents": 0, "attributes": {}, "version": 1
    }  # fmt: skip

    assert values.product_differences(product, product | {"links": []}) == []
    del (less := dict(product))["version"]
    assert values.product_differences(product, less) == ["version is missing"]
    assert values.product_differences(product, None) == ["the body is null, not a product"]
