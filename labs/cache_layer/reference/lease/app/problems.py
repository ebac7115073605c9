"""Errors as RFC 9457 problem documents, whoever raises them."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from app.table import TableUnavailable, Unstorable


def problem(
    status: int, *, detail: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An `application/problem+json` answer titled with the status' own phrase."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail:
        body["detail"] = detail
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Let our own errors and the framework's (404, 405, validation, bugs) look the same."""

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, detail=error.detail, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    @app.exception_handler(ValidationError)
    async def invalid(_: Request, error: RequestValidationError | ValidationError) -> JSONResponse:
        first = error.errors()[0]
        return problem(400, detail=": ".join([*map(str, first["loc"][-1:]), first["msg"]]))

    @app.exception_handler(Unstorable)
    async def unstorable(_: Request, __: Unstorable) -> JSONResponse:
        return problem(422, detail="Postgres has no room for one of these values")

    @app.exception_handler(TableUnavailable)
    async def table_unavailable(_: Request, __: TableUnavailable) -> JSONResponse:
        return problem(503, detail="the products cannot be reached", headers={"Retry-After": "1"})

    @app.exception_handler(Exception)
    async def bug(_: Request, __: Exception) -> JSONResponse:
        return problem(500)
