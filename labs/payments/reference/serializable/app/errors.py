"""Lets our own errors and the framework's (404, 405, bugs) look the same."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.database import DatabaseUnavailable
from app.orders import InvalidRequest
from app.payments import KeyReused
from app.problems import document
from app.provider import ProviderFailed

AGAIN = {"Retry-After": "1"}


def problem(status: int, detail: str | None = None, *, headers: dict[str, str] | None = None) -> Response:
    return Response(document(status, detail), status, headers, media_type="application/problem+json")


def http_error(_: Request, error: Exception) -> Response:
    """Of the framework: 404, 405 and the like."""
    assert isinstance(error, HTTPException)
    return problem(error.status_code, headers=dict(error.headers or {}))


def invalid(_: Request, error: Exception) -> Response:
    return problem(400, str(error))


def reused(_: Request, __: Exception) -> Response:
    return problem(422, "this Idempotency-Key was used for another request")


def provider_failed(_: Request, __: Exception) -> Response:
    return problem(504, "the payment provider does not say what it did", headers=AGAIN)


def database_unavailable(_: Request, __: Exception) -> Response:
    return problem(503, "payments cannot be reached", headers=AGAIN)


def bug(_: Request, __: Exception) -> Response:
    return problem(500)


HANDLERS = {
    HTTPException: http_error,
    InvalidRequest: invalid,
    KeyReused: reused,
    ProviderFailed: provider_failed,
    DatabaseUnavailable: database_unavailable,
    Exception: bug,
}
