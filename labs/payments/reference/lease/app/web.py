"""The HTTP surface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import aiohttp
from aiohttp import web

from app import database, orders
from app.database import Database
from app.keys import Ended, Keys, Lease
from app.orders import InvalidRequest
from app.payments import Payments
from app.problems import in_time, problem, problems
from app.provider import Provider
from app.refunds import Refunds
from app.settings import WebSettings


def main() -> None:
    settings = WebSettings.from_env()
    web.run_app(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        access_log=None,
        print=None,
        backlog=1024,
        shutdown_timeout=7,
    )


def create_app(settings: WebSettings) -> web.Application:
    """The whole service. Postgres is not spoken to before a request needs it."""
    app = web.Application(middlewares=[in_time, problems], client_max_size=orders.MAX_BODY_BYTES)
    app.router.add_get("/healthz", healthz)

    async def connections(_: web.Application) -> AsyncIterator[None]:
        pool = await database.connect(settings.database_url)
        async with aiohttp.ClientSession() as session:
            store = Database(pool)
            keys = Keys(store, lock_s=settings.lock_s)
            provider = Provider(session, settings.psp_url)
            routes.open(keys, Payments(store, keys, provider), Refunds(store, keys, provider))
            yield
        pool.terminate()

    routes = Routes()
    app.cleanup_ctx.append(connections)
    app.router.add_post("/payments", routes.pay)
    app.router.add_get("/payments/{id}", routes.show)
    app.router.add_post("/payments/{id}/refunds", routes.refund)
    return app


async def healthz(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


class Routes:
    """Requests in, answers out; what raises is answered by `problems`."""

    def open(self, keys: Keys, payments: Payments, refunds: Refunds) -> None:
        self._keys, self._payments, self._refunds = keys, payments, refunds

    async def show(self, request: web.Request) -> web.Response:
        shown = await self._payments.find(_merchant(request), _id(request))
        return problem(404) if shown is None else _json(shown)

    async def pay(self, request: web.Request) -> web.Response:
        merchant, key, fields = await _read(request)
        order = orders.payment_order(fields)
        taken = await self._keys.take(merchant, key, orders.fingerprint("/payments", fields))
        if isinstance(taken, Lease):
            return _answer(await self._payments.pay(taken, order), located=True)
        return _answer(taken, located=True, replayed=True)

    async def refund(self, request: web.Request) -> web.Response:
        merchant, key, fields = await _read(request)
        order, payment_id = orders.refund_order(fields), _id(request)
        path = f"/payments/{payment_id}/refunds"
        taken = await self._keys.take(merchant, key, orders.fingerprint(path, fields))
        if not isinstance(taken, Lease):
            return _answer(taken, replayed=True)
        ended = await self._refunds.refund(taken, payment_id, order.amount_cents)
        return problem(404) if ended is None else _answer(ended)


def _merchant(request: web.Request) -> str:
    merchant = orders.parse_merchant(request.headers.get("X-Merchant-Id"))
    if merchant is None:
        raise web.HTTPUnauthorized
    return merchant


def _id(request: web.Request) -> UUID:
    try:
        return UUID(request.match_info["id"])
    except ValueError:
        raise web.HTTPNotFound from None


async def _read(request: web.Request) -> tuple[str, str, dict[str, Any]]:
    """Merchant, key and body."""
    merchant = _merchant(request)
    key = orders.parse_key(request.headers.get("Idempotency-Key"))
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise InvalidRequest(f"a body has at most {orders.MAX_BODY_BYTES} bytes") from None
    return merchant, key, orders.parse_json(raw)


def _answer(ended: Ended, *, located: bool = False, replayed: bool = False) -> web.Response:
    headers = {"Idempotent-Replayed": "true"} if replayed else {}
    if ended.status != 201:
        return _json(ended.answer, status=ended.status, headers=headers, type_="application/problem+json")
    if located:
        headers["Location"] = f"/payments/{ended.subject}"
    return _json(ended.answer, status=201, headers=headers)


def _json(
    text: str, *, status: int = 200, headers: dict[str, str] | None = None, type_: str = "application/json"
) -> web.Response:
    # As bytes: of text aiohttp would say the charset, which JSON media types do not have.
    return web.Response(body=text.encode(), status=status, headers=headers, content_type=type_)
