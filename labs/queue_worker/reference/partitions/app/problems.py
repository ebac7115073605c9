"""Errors as RFC 9457 problem documents, whoever raises them."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from app.jobs import InvalidJob
from app.producer import NotWritten
from app.table import TableUnavailable

LATER = {"Retry-After": "1"}


def problem(
    status: int, *, detail: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An `application/problem+json` answer titled with the status' own phrase."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail:
        body["detail"] = detail
    return JSONResponse(body, status, headers, media_type="application/problem+json")


async def _http_error(_: Request, error: HTTPException) -> JSONResponse:
    return problem(error.status_code, detail=error.detail, headers=error.headers)


async def _invalid(_: Request, error: InvalidJob) -> JSONResponse:
    return problem(422, detail=str(error))


async def _table_unavailable(_: Request, __: TableUnavailable) -> JSONResponse:
    return problem(503, detail="the jobs cannot be reached", headers=LATER)


async def _not_written(_: Request, __: NotWritten) -> JSONResponse:
    return problem(503, detail="the job may be lost; send it again", headers=LATER)


async def _bug(_: Request, __: Exception) -> JSONResponse:
    return problem(500)


HANDLERS: dict[Any, Any] = {
    HTTPException: _http_error,
    InvalidJob: _invalid,
    TableUnavailable: _table_unavailable,
    NotWritten: _not_written,
    Exception: _bug,
}
