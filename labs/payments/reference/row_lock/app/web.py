"""The HTTP surface."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from flask import Flask, Response, abort, request
from werkzeug.exceptions import RequestEntityTooLarge

from app import orders, problems
from app.connections import Connections
from app.keys import Desk, Ended, Key
from app.orders import InvalidRequest
from app.payments import Payments
from app.problems import problem
from app.provider import Provider
from app.refunds import Refunds


def create_app(connections: Connections, provider: Provider) -> Flask:
    """The whole service. Postgres is not spoken to before a request needs it."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = orders.MAX_BODY_BYTES
    problems.install(app)
    desk = Desk(connections)
    _add_payments(app, Payments(connections, desk, provider))
    _add_refunds(app, Refunds(desk, provider))

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    return app


def _add_payments(app: Flask, payments: Payments) -> None:
    @app.post("/payments")
    def pay() -> Response:
        merchant_id, name, fields = _read()
        order = orders.payment_order(fields)
        key = Key(merchant_id, name, orders.fingerprint("/payments", fields))
        ended = payments.pay(key, order)
        return _answer(ended, location=f"/payments/{ended.subject}")

    @app.get("/payments/<payment_id>")
    def show(payment_id: str) -> Response:
        payment = payments.find(_merchant(), _id(payment_id))
        return problem(404) if payment is None else _json(json.dumps(payment.shown()))


def _add_refunds(app: Flask, refunds: Refunds) -> None:
    @app.post("/payments/<payment_id>/refunds")
    def refund(payment_id: str) -> Response:
        merchant_id, name, fields = _read()
        amount_cents, id_ = orders.amount(fields), _id(payment_id)
        key = Key(merchant_id, name, orders.fingerprint(f"/payments/{id_}/refunds", fields))
        ended = refunds.refund(key, id_, amount_cents)
        return problem(404) if ended is None else _answer(ended)


def _merchant() -> str:
    merchant_id = orders.parse_merchant(request.headers.get("X-Merchant-Id"))
    if merchant_id is None:
        abort(401)
    return merchant_id


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        abort(404)


def _read() -> tuple[str, str, dict[str, Any]]:
    """Merchant, key and body."""
    merchant_id = _merchant()
    try:
        name = orders.parse_key(request.headers.get("Idempotency-Key"))
    except InvalidRequest as error:
        abort(problem(400, str(error)))
    try:
        return merchant_id, name, orders.parse_json(request.get_data())
    except RequestEntityTooLarge:
        raise InvalidRequest(f"a body has at most {orders.MAX_BODY_BYTES} bytes") from None


def _answer(ended: Ended, *, location: str | None = None) -> Response:
    headers = {"Idempotent-Replayed": "true"} if ended.replayed else {}
    if ended.status != 201:
        return Response(ended.answer, ended.status, headers, content_type="application/problem+json")
    if location:
        headers["Location"] = location
    return _json(ended.answer, status=201, headers=headers)


def _json(text: str, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(text, status, headers, content_type="application/json")
