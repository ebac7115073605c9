"""What a job carries, compared as JSON values."""

from __future__ import annotations

from typing import Any

from labkit import json_differences, load_json, said_as_json

# Not to be had as a float: the next integers that are differ by two.
BEYOND_FLOATS = 2**53 + 1
load, said = load_json, said_as_json


def told_differences(wanted: dict[str, Any], got: Any) -> list[str]:
    """Where what was told differs from what had to be; further members are nobody's business."""
    if not isinstance(got, dict):
        return [f"it is {said(got)}, not an object"]
    return list(json_differences(wanted, {name: got[name] for name in wanted if name in got}))
