"""Errors as RFC 9457 problem documents, whoever raises them."""

from __future__ import annotations

import json
from http import HTTPStatus

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from app.connections import DatabaseUnavailable
from app.keys import KeyInProgress, KeyReused
from app.orders import InvalidRequest
from app.provider import ProviderFailed


def document(status: int, detail: str | None = None) -> str:
    """A problem titled with the status' own phrase, as JSON text."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    return json.dumps({**body, "detail": detail} if detail else body)


def problem(status: int, detail: str | None = None, *, headers: dict[str, str] | None = None) -> Response:
    return Response(document(status, detail), status, headers, content_type="application/problem+json")


def install(app: Flask) -> None:
    """Let our own errors and the framework's (404, 405, bugs: Flask logs those) look the same."""

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        headers = dict(error.get_headers())
        allowed = {"Allow": headers["Allow"]} if "Allow" in headers else None
        return problem(error.code or 500, headers=allowed)

    @app.errorhandler(InvalidRequest)
    def invalid(error: InvalidRequest) -> Response:
        return problem(422, str(error))

    @app.errorhandler(KeyReused)
    def reused(_: KeyReused) -> Response:
        return problem(422, "this Idempotency-Key was used for another request")

    @app.errorhandler(KeyInProgress)
    def in_progress(_: KeyInProgress) -> Response:
        return problem(409, "the first request with this Idempotency-Key still runs", headers=AGAIN)

    @app.errorhandler(ProviderFailed)
    def provider_failed(_: ProviderFailed) -> Response:
        return problem(502, "the payment provider does not say what it did", headers=AGAIN)

    @app.errorhandler(DatabaseUnavailable)
    def database_unavailable(_: DatabaseUnavailable) -> Response:
        return problem(503, "payments cannot be reached", headers=AGAIN)


AGAIN = {"Retry-After": "1"}
