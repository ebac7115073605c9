"""What a job is, on its way in and on its way out."""

from __future__ import annotations

import json
from dataclasses import dataclass

from app.jsontext import NotJson, members

MOST_KEY_CHARACTERS = 128
MOST_PAYLOAD_BYTES = 64 << 10
# Room for a payload of the largest size, its key in escapes, and generous white space.
MOST_BODY_BYTES = 1 << 20


class InvalidJob(ValueError):
    """Says what is wrong with a request or a record, in words for whoever wrote it."""


@dataclass(frozen=True)
class Job:
    """payload: the JSON text of an object, passed on as it is."""

    id: str
    key: str
    payload: str

    def record(self) -> bytes:
        """The value of its record on the topic."""
        return (
            f'{{"id":{json.dumps(self.id)},"key":{json.dumps(self.key)},"payload":{self.payload}}}'.encode()
        )

    def delivery(self, attempt: int) -> bytes:
        """The body that the sink is sent; attempts count from 1."""
        head = f'"job_id":{json.dumps(self.id)},"key":{json.dumps(self.key)},"attempt":{attempt}'
        return f'{{{head},"payload":{self.payload}}}'.encode()


def parse_request(body: bytes) -> tuple[str, str]:
    """The key and the payload of a `POST /jobs`. Raises InvalidJob."""
    key, payload = _key_and_payload(_object(body))
    if not 1 <= len(key) <= MOST_KEY_CHARACTERS:
        raise InvalidJob(f"key has 1 to {MOST_KEY_CHARACTERS} characters")
    if len(payload.encode()) > MOST_PAYLOAD_BYTES:
        raise InvalidJob(f"payload has at most {MOST_PAYLOAD_BYTES} bytes")
    return key, payload


def parse_record(value: bytes | None) -> Job:
    """The job that a record carries. Raises InvalidJob."""
    if value is None:
        raise InvalidJob("the record has no value")
    fields = _object(value)
    key, payload = _key_and_payload(fields)
    return Job(_text(fields, "id"), key, payload)


def _object(document: bytes) -> dict[str, str]:
    try:
        return members(document)
    except NotJson as error:
        raise InvalidJob(f"not a JSON object: {error}") from error


def _key_and_payload(fields: dict[str, str]) -> tuple[str, str]:
    key = _text(fields, "key")
    payload = fields.get("payload", "")
    if not payload.startswith("{"):
        raise InvalidJob("payload is missing or not an object")
    return key, payload


def _text(fields: dict[str, str], name: str) -> str:
    text = fields.get(name, "")
    if not text.startswith('"'):
        raise InvalidJob(f"{name} is missing or not a string")
    value: str = json.loads(text)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidJob(f"{name} has half a surrogate pair") from None
    return value
