"""Errors as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from app.jobs import BadJob

logger = logging.getLogger(__name__)


def problem(
    status: HTTPStatus, detail: str | None = None, *, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An answer that tells a program what went wrong: `status`, `title` and, for people, `detail`."""
    body = {"status": status.value, "title": status.phrase}
    if detail is not None:
        body["detail"] = detail
    return web.json_response(body, status=status, content_type="application/problem+json", headers=headers)


@web.middleware
async def problems_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn the framework's own errors, and ours, into problems that tell nothing of our insides."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        allowed = error.headers.get("Allow")
        return problem(HTTPStatus(error.status), headers={"Allow": allowed} if allowed else None)
    except BadJob as error:
        return problem(HTTPStatus.BAD_REQUEST, str(error))
    except Exception:
        logger.exception("%s %s failed", request.method, request.path)
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR)
