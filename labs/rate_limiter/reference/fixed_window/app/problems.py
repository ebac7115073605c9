"""Errors as RFC 9457 problem documents, whoever raises them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from flask import Flask, Response
from werkzeug.exceptions import HTTPException


def problem(status: int, *, detail: str | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """An `application/problem+json` answer titled with the status' own phrase."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail:
        body["detail"] = detail
    return Response(json.dumps(body), status, headers, content_type="application/problem+json")


def install(app: Flask) -> None:
    """Let the framework's own errors (404, 405, bugs: Flask logs those) look like ours."""

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        headers = dict(error.get_headers())
        allowed = {"Allow": headers["Allow"]} if "Allow" in headers else None
        return problem(error.code or 500, headers=allowed)
