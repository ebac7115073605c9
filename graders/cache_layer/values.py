"""What a product holds, compared as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from labkit import json_differences, load_json, said_as_json

MEMBERS = ("id", "name", "description", "price_cents", "attributes", "version")
load = load_json
differences = partial(json_differences, whole="the body", given="stored")


def product_differences(wanted: Mapping[str, Any], got: Any) -> list[str]:
    """Where a product's answer differs from what is stored; further members are nobody's business."""
    if not isinstance(got, dict):
        return [f"the body is {said_as_json(got)}, not a product"]
    return list(differences(wanted, {name: got[name] for name in MEMBERS if name in got}))
