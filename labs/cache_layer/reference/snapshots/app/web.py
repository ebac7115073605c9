"""The HTTP surface."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from app import cache
from app.cache import Cache
from app.catalogue import Catalogue
from app.connections import Connections
from app.problems import problem, problems
from app.products import MAX_BODY_BYTES, InvalidRequest, check_body, parse_id, parse_ids
from app.settings import Settings
from app.table import CONNECTIONS, Table


def create_app(settings: Settings) -> web.Application:
    """The whole service. Neither Redis nor Postgres is spoken to before a request needs them."""
    redis = cache.connect(settings.redis_url)
    products = Cache(redis, ttl_s=settings.ttl_s, negative_ttl_s=settings.negative_ttl_s)
    connections = Connections(settings.database_url, size=CONNECTIONS)
    app = web.Application(middlewares=[problems], client_max_size=MAX_BODY_BYTES)

    async def close(_: web.Application) -> AsyncIterator[None]:
        yield
        await connections.close()
        await products.close()

    app.cleanup_ctx.append(close)
    routes = Routes(Catalogue(products, Table(connections)))
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/products", routes.list)
    app.router.add_get("/products/{product_id}", routes.get)
    app.router.add_put("/products/{product_id}", routes.put)
    app.router.add_delete("/products/{product_id}", routes.delete)
    return app


async def healthz(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


class Routes:
    """Requests in, answers out; what raises is answered by `problems`."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def get(self, request: web.Request) -> web.Response:
        found = await self._catalogue.get(_id(request))
        headers = {"X-Cache": "hit" if found.hit else "miss"}
        if found.product is None:
            return problem(404, headers=headers)
        return _json(found.product, headers=headers)

    async def list(self, request: web.Request) -> web.Response:
        products = await self._catalogue.list(parse_ids(request.query.get("ids", "")))
        return _json(f'{{"items":[{",".join(products)}]}}')

    async def put(self, request: web.Request) -> web.Response:
        product_id = _id(request)
        try:
            raw = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise InvalidRequest(f"a body has at most {MAX_BODY_BYTES} bytes") from None
        put = await self._catalogue.put(product_id, check_body(raw))
        return _json(put.product, status=201 if put.created else 200)

    async def delete(self, request: web.Request) -> web.Response:
        return web.Response(status=204) if await self._catalogue.delete(_id(request)) else problem(404)


def _id(request: web.Request) -> int:
    return parse_id(request.match_info["product_id"])


def _json(text: str, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    # As bytes: of text aiohttp would say the charset, which JSON media types do not have.
    return web.Response(body=text.encode(), status=status, headers=headers, content_type="application/json")
