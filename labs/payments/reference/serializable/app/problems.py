"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

import json
from http import HTTPStatus


def document(status: int, detail: str | None = None) -> str:
    """A problem titled with the status' own phrase, as JSON text."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    return json.dumps({**body, "detail": detail} if detail else body)
