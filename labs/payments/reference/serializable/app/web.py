"""The HTTP surface."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app import errors, orders
from app.cashier import Cashier
from app.database import Database
from app.errors import problem
from app.intents import Ended, Key
from app.orders import InvalidRequest, PaymentOrder, RefundOrder
from app.payments import Payments
from app.provider import Provider
from app.settings import WebSettings

# A payment keeps one while the provider works on it.
THREADS = 100


def main() -> None:
    # After its graceful stop uvicorn raises the signal again for whoever handled it before;
    # the default handler would turn a clean stop into "killed by signal 15".
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = WebSettings.from_env()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        loop="asyncio",
        http="h11",
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=7,
        timeout_keep_alive=30,
    )


def create_app(settings: WebSettings) -> Starlette:
    """The whole service. Postgres is not spoken to before a request needs it."""
    database = Database(settings.database_url)
    routes = Routes(Payments(database, Cashier(database, Provider(settings.psp_url))))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        yield

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/payments", routes.pay, methods=["POST"]),
            Route("/payments/{id}", routes.show),
            Route("/payments/{id}/refunds", routes.refund, methods=["POST"]),
        ],
        exception_handlers=errors.HANDLERS,
        lifespan=lifespan,
    )


async def healthz(_: Request) -> Response:
    return _json('{"status": "ok"}')


class Routes:
    """Requests in, answers out; what raises is answered by `errors`."""

    def __init__(self, payments: Payments) -> None:
        self._payments = payments

    async def pay(self, request: Request) -> Response:
        merchant_id, name = _merchant(request), _key(request)
        order = orders.parse_body(await _body(request), PaymentOrder)
        key = Key(merchant_id, name, order.fingerprint("/payments"))
        ended = await run_in_threadpool(self._payments.pay, key, order)
        return _answer(ended, location=f"/payments/{ended.payment_id}")

    async def show(self, request: Request) -> Response:
        shown = await run_in_threadpool(self._payments.find, _merchant(request), _id(request))
        return problem(404) if shown is None else _json(json.dumps(shown))

    async def refund(self, request: Request) -> Response:
        merchant_id, name = _merchant(request), _key(request)
        order = orders.parse_body(await _body(request), RefundOrder)
        payment_id = _id(request)
        key = Key(merchant_id, name, order.fingerprint(f"/payments/{payment_id}/refunds"))
        ended = await run_in_threadpool(self._payments.refund, key, payment_id, order.amount_cents)
        return problem(404) if ended is None else _answer(ended)


def _merchant(request: Request) -> str:
    merchant_id = orders.parse_merchant(request.headers.get("x-merchant-id"))
    if merchant_id is None:
        raise HTTPException(401)
    return merchant_id


def _key(request: Request) -> str:
    return orders.parse_key(request.headers.get("idempotency-key"))


def _id(request: Request) -> UUID:
    try:
        return UUID(request.path_params["id"])
    except ValueError:
        raise HTTPException(404) from None


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > orders.MAX_BODY_BYTES:
            raise InvalidRequest(f"a body has at most {orders.MAX_BODY_BYTES} bytes")
    return bytes(body)


def _answer(ended: Ended, *, location: str | None = None) -> Response:
    headers = {"Idempotent-Replayed": "true"} if ended.replayed else {}
    if ended.status != 201:
        return Response(ended.answer, ended.status, headers, media_type="application/problem+json")
    if location:
        headers["Location"] = location
    return _json(ended.answer, status=201, headers=headers)


def _json(text: str, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(text, status, headers, media_type="application/json")
