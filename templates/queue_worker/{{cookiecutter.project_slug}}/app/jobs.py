"""What a client sends, checked before anything is promised."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

MAX_KEY_CHARACTERS = 128
MAX_PAYLOAD_BYTES = 64 * 1024


class BadJob(Exception):
    """The body is no job; the message tells the client why."""


@dataclass(frozen=True)
class NewJob:
    """A job as a client asks for it; it gets its id when it is taken."""

    key: str
    payload: dict[str, Any]


def read_job(body: bytes) -> NewJob:
    """Raises BadJob."""
    try:
        job = json.loads(body.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise BadJob("the body is not JSON in UTF-8") from None
    if not isinstance(job, dict):
        raise BadJob("the body is not a JSON object")
    key, payload = job.get("key"), job.get("payload")
    if not isinstance(key, str) or not 1 <= len(key) <= MAX_KEY_CHARACTERS or _as_utf8(key) is None:
        raise BadJob(f"key must be a string of 1 to {MAX_KEY_CHARACTERS} characters")
    if not isinstance(payload, dict):
        raise BadJob("payload must be an object")
    text = _as_utf8(json.dumps(payload, ensure_ascii=False, separators=(",", ":")))
    if text is None or len(text) > MAX_PAYLOAD_BYTES:
        raise BadJob(f"payload must be at most {MAX_PAYLOAD_BYTES} bytes of JSON in UTF-8")
    return NewJob(key, payload)


def _as_utf8(text: str) -> bytes | None:
    """None for half of a surrogate pair: JSON can spell it, and nobody can encode it."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None


def _no_number(word: str) -> NoReturn:
    """Python reads NaN and Infinity, which JSON does not have."""
    raise ValueError(word)
