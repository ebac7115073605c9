"""Errors as RFC 9457 problem documents, whoever raises them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from app.products import InvalidRequest
from app.table import TableUnavailable, Unstorable

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
    """Let our own errors and the framework's (404, 405, bugs) look the same."""
    try:
        return await handler(request)
    except InvalidRequest as error:
        return problem(400, detail=str(error))
    except Unstorable:
        return problem(422, detail="Postgres has no room for one of these values")
    except TableUnavailable:
        return problem(503, detail="the products cannot be reached", headers={"Retry-After": "1"})
    except web.HTTPException as error:
        allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return problem(error.status, headers=allowed)
    except Exception:
        logger.exception("%s %s failed", request.method, request.path)
        return problem(500)
