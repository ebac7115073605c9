"""The API: its routes and what they answer.

What comes in is checked, and no money moves yet: a payment or a refund that could be taken is
answered by 501, which is the truth. What belongs there is told by `lab brief payments`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus

from aiohttp import web

from app.bodies import BadRequest, read_key, read_merchant, read_payment, read_refund
from app.payments import Payments, open_payments
from app.problems import problem, problems_as_json
from app.settings import Settings

SETTINGS = web.AppKey("settings", Settings)
PAYMENTS = web.AppKey("payments", Payments)

MAX_BODY_BYTES = 1 << 16

routes = web.RouteTableDef()


def create_app(settings: Settings) -> web.Application:
    app = web.Application(middlewares=[problems_as_json], client_max_size=MAX_BODY_BYTES)
    app[SETTINGS] = settings
    app.cleanup_ctx.append(_payments)
    app.add_routes(routes)
    return app


async def _payments(app: web.Application) -> AsyncIterator[None]:
    async with open_payments(app[SETTINGS].database_url) as payments:
        app[PAYMENTS] = payments
        yield


@routes.get("/healthz")
async def healthz(_request: web.Request) -> web.Response:
    """Says that this process takes traffic; it must depend neither on Postgres nor on Kafka."""
    return web.json_response({"status": "ok"})


@routes.post("/payments")
async def post_payment(request: web.Request) -> web.Response:
    merchant = read_merchant(request.headers)
    key = read_key(request.headers)
    payment = read_payment(await _body(request))
    # This is where your work begins: merchant, key and payment are known and checked.
    del merchant, key, payment
    return problem(HTTPStatus.NOT_IMPLEMENTED, "no payment is taken yet")


@routes.get("/payments/{id}")
async def get_payment(request: web.Request) -> web.Response:
    payment = await _find(request)
    return problem(HTTPStatus.NOT_FOUND) if payment is None else web.json_response(payment)


@routes.post("/payments/{id}/refunds")
async def post_refund(request: web.Request) -> web.Response:
    read_merchant(request.headers)
    key = read_key(request.headers)
    refund = read_refund(await _body(request))
    if await _find(request) is None:
        return problem(HTTPStatus.NOT_FOUND)
    del key, refund
    return problem(HTTPStatus.NOT_IMPLEMENTED, "no payment is refunded yet")


async def _find(request: web.Request) -> dict[str, object] | None:
    """The payment that the path names, if it is this merchant's."""
    merchant, payment_id = read_merchant(request.headers), request.match_info["id"]
    if not payment_id.isprintable():
        return None
    return await request.app[PAYMENTS].find(merchant, payment_id)


async def _body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise BadRequest(f"the body is larger than {MAX_BODY_BYTES} bytes") from None
