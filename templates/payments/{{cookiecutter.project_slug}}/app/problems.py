"""Errors as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from app.bodies import BadRequest, UnknownMerchant
from app.payments import Unavailable

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
    except UnknownMerchant:
        return problem(HTTPStatus.UNAUTHORIZED, "X-Merchant-Id must be 1 to 64 characters")
    except BadRequest as error:
        return problem(HTTPStatus.BAD_REQUEST, str(error))
    except Unavailable as error:
        logger.warning("%s %s: Postgres does not answer: %s", request.method, request.path, error)
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": "1"})
    except Exception:
        logger.exception("%s %s failed", request.method, request.path)
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR)
