"""Errors as RFC 9457 problem documents, whoever raises them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from app.jobs import InvalidJob
from app.ledger import LedgerUnavailable
from app.producing import NotWritten


def problem(status: int, *, detail: str | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """An `application/problem+json` answer titled with the status' own phrase."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail:
        body["detail"] = detail
    return Response(json.dumps(body), status, headers, content_type="application/problem+json")


def install(app: Flask) -> None:
    """Let our own errors and the framework's (404, 405, 413, bugs: Flask logs those) look the same."""

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        headers = dict(error.get_headers())
        allowed = {"Allow": headers["Allow"]} if "Allow" in headers else None
        return problem(error.code or 500, headers=allowed)

    @app.errorhandler(InvalidJob)
    def invalid(error: InvalidJob) -> Response:
        return problem(422, detail=str(error))

    @app.errorhandler(LedgerUnavailable)
    def ledger_unavailable(_: LedgerUnavailable) -> Response:
        return problem(503, detail="the jobs cannot be reached", headers={"Retry-After": "1"})

    @app.errorhandler(NotWritten)
    def not_written(_: NotWritten) -> Response:
        return problem(503, detail="the job may be lost; send it again", headers={"Retry-After": "1"})
