"""Errors as RFC 9457 problem documents, whoever raises them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

logger = logging.getLogger(__name__)


def problem(
    status: int, *, detail: str | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An `application/problem+json` answer titled with the status' own phrase."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail:
        body["detail"] = detail
    # As bytes: of text aiohttp would say the charset, which JSON media types do not have.
    encoded = json.dumps(body).encode()
    return web.Response(body=encoded, status=status, headers=headers, content_type="application/problem+json")


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let the framework's own errors (404, 405, bugs) look like ours."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return problem(error.status, headers=allowed)
    except Exception:
        logger.exception("%s %s failed", request.method, request.path)
        return problem(500)
