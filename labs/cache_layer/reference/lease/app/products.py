"""What clients may send: ids and bodies."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.exceptions import HTTPException

LARGEST = 2**63 - 1
MOST_IDS = 100
MAX_BODY_BYTES = 1 << 20
DIGITS = re.compile(r"[1-9][0-9]{0,18}")


class Fields(BaseModel):
    """The members of a body. Only checked: what is stored is the text that they were read from."""

    model_config = ConfigDict(strict=True)

    name: str
    description: str | None
    price_cents: Annotated[int, Field(ge=0, le=LARGEST)]
    attributes: dict[str, Any]


def parse_id(text: str) -> int:
    """Raises ValueError for anything but an integer from 1 to 2^63-1 in its shortest form."""
    if not DIGITS.fullmatch(text) or int(text) > LARGEST:
        raise ValueError("must be an integer from 1 to 2^63-1")
    return int(text)


def read_ids(ids: str) -> list[int]:
    """What `?ids=` asks for: 1 to 100 ids with commas between. Raises HTTPException for anything else."""
    parts = ids.split(",", MOST_IDS)
    try:
        parsed = [parse_id(part) for part in parts[:MOST_IDS]]
    except ValueError as error:
        raise HTTPException(400, f"ids: each {error}") from None
    if len(parts) > MOST_IDS:
        raise HTTPException(400, f"ids: at most {MOST_IDS}")
    return parsed


async def read_body(request: Request) -> str:
    """The body as JSON text that is fit to be stored. Raises ValidationError or HTTPException."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(422, f"a body has at most {MAX_BODY_BYTES} bytes")
    Fields.model_validate_json(bytes(body))
    return body.decode()


ProductId = Annotated[int, BeforeValidator(parse_id)]
ProductIds = Annotated[list[int], Depends(read_ids)]
Body = Annotated[str, Depends(read_body)]
