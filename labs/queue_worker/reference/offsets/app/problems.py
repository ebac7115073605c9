"""Errors as RFC 9457 problem documents, whoever raises them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from aiohttp import web

from app.database import DatabaseUnavailable
from app.jobs import InvalidJob

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def problem(
    status: int, *, detail: str | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An `application/problem+json` answer titled with the status' own phrase."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail:
        body["detail"] = detail
    return web.json_response(body, status=status, headers=headers, content_type="application/problem+json")


@web.middleware
async def as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let our own errors and the framework's (404, 405, 413, bugs) look the same."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return problem(error.status, headers=allowed)
    except InvalidJob as error:
        return problem(422, detail=str(error))
    except DatabaseUnavailable:
        return problem(503, detail="the jobs cannot be reached", headers={"Retry-After": "1"})
    except Exception:
        request.app.logger.exception("a request failed")
        return problem(500)
