"""Errors as RFC 9457 problem documents, whoever raises them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from app.products import InvalidRequest
from app.table import TableUnavailable, Unstorable


def problem(status: int, *, detail: str | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """An `application/problem+json` answer titled with the status' own phrase."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail:
        body["detail"] = detail
    return Response(json.dumps(body), status, headers, content_type="application/problem+json")


def install(app: Flask) -> None:
    """Let our own errors and the framework's (404, 405, bugs: Flask logs those) look the same."""

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        headers = dict(error.get_headers())
        allowed = {"Allow": headers["Allow"]} if "Allow" in headers else None
        return problem(error.code or 500, headers=allowed)

    @app.errorhandler(InvalidRequest)
    def invalid(error: InvalidRequest) -> Response:
        return problem(400, detail=str(error))

    @app.errorhandler(Unstorable)
    def unstorable(_: Unstorable) -> Response:
        return problem(422, detail="Postgres has no room for one of these values")

    @app.errorhandler(TableUnavailable)
    def table_unavailable(_: TableUnavailable) -> Response:
        return problem(503, detail="the products cannot be reached", headers={"Retry-After": "1"})
