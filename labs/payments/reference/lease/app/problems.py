"""Errors as RFC 9457 problem documents, whoever raises them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web

from app.database import DatabaseUnavailable
from app.keys import KeyInProgress, KeyReused
from app.orders import InvalidRequest
from app.provider import ProviderFailed

logger = logging.getLogger(__name__)

ANSWER_WITHIN_S = 9.3

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def document(status: int, detail: str | None = None) -> str:
    """A problem titled with the status' own phrase, as JSON text."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    return json.dumps({**body, "detail": detail} if detail else body)


def problem(status: int, detail: str | None = None, *, retry: bool = False) -> web.Response:
    return web.Response(
        body=document(status, detail).encode(),
        status=status,
        headers={"Retry-After": "1"} if retry else None,
        content_type="application/problem+json",
    )


@web.middleware
async def in_time(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer before the client gives up. What was broken off goes on with the next request with its key."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            return await handler(request)
    except TimeoutError:
        return problem(504, "that took too long; ask again with the same key", retry=True)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let our own errors and the framework's (404, 405, bugs) look the same."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return problem(error.status)
    except InvalidRequest as error:
        return problem(400, str(error))
    except KeyReused:
        return problem(422, "this Idempotency-Key was used for another request")
    except KeyInProgress:
        return problem(409, "the first request with this Idempotency-Key still runs", retry=True)
    except ProviderFailed:
        return problem(502, "the payment provider did not answer; ask again with the same key", retry=True)
    except DatabaseUnavailable:
        return problem(503, "payments cannot be reached; ask again with the same key", retry=True)
    except Exception:
        logger.exception("a bug")
        return problem(500)
