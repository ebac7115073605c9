"""Jobs: what the grader posts or writes itself, and where it lies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .topics import Record


@dataclass(frozen=True)
class Job:
    """A job; `record` is where it lies on the topic, once that is known."""

    id: str
    key: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    record: Record | None = None

    @property
    def body(self) -> dict[str, Any]:
        """What its record says."""
        return {"id": self.id, "key": self.key, "payload": self.payload}

    @property
    def value(self) -> bytes:
        return json.dumps(self.body, ensure_ascii=False).encode()
