"""The API: its routes and what they answer.

Nothing is cached yet: every request goes to the table. A cache belongs between the two, so that
these handlers ask it and it alone knows when to ask `Products`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus

from aiohttp import web

from app.bodies import BadBody, read_id, read_product
from app.problems import problem, problems_as_json
from app.products import Products, open_products
from app.settings import Settings

SETTINGS = web.AppKey("settings", Settings)
PRODUCTS = web.AppKey("products", Products)

MAX_LISTED = 100
MAX_BODY_BYTES = 1 << 20

routes = web.RouteTableDef()


def create_app(settings: Settings) -> web.Application:
    app = web.Application(middlewares=[problems_as_json], client_max_size=MAX_BODY_BYTES)
    app[SETTINGS] = settings
    app.cleanup_ctx.append(_products)
    app.add_routes(routes)
    return app


async def _products(app: web.Application) -> AsyncIterator[None]:
    async with open_products(app[SETTINGS].database_url) as products:
        app[PRODUCTS] = products
        yield


@routes.get("/healthz")
async def healthz(_request: web.Request) -> web.Response:
    """Says that this process takes traffic; it must depend neither on Redis nor on Postgres."""
    return web.json_response({"status": "ok"})


@routes.get("/products/{id}")
async def get_product(request: web.Request) -> web.Response:
    product = await request.app[PRODUCTS].find(_id(request))
    if product is None:
        return problem(HTTPStatus.NOT_FOUND)
    return _json(product, headers={"X-Cache": "miss"})


@routes.get("/products")
async def list_products(request: web.Request) -> web.Response:
    ids = [read_id(text) for text in request.query.get("ids", "").split(",")]
    asked = [number for number in ids if number is not None]
    if len(asked) < len(ids) or len(ids) > MAX_LISTED:
        return problem(HTTPStatus.BAD_REQUEST, f"ids must be 1 to {MAX_LISTED} ids, with commas between")
    found = await request.app[PRODUCTS].find_all(asked)
    items = ",".join(found[number] for number in asked if number in found)
    return _json('{"items": [' + items + "]}")


@routes.put("/products/{id}")
async def put_product(request: web.Request) -> web.Response:
    product_id = _id(request)
    created, product = await request.app[PRODUCTS].put(product_id, read_product(await _body(request)))
    return _json(product, status=HTTPStatus.CREATED if created else HTTPStatus.OK)


@routes.delete("/products/{id}")
async def delete_product(request: web.Request) -> web.Response:
    if not await request.app[PRODUCTS].delete(_id(request)):
        return problem(HTTPStatus.NOT_FOUND)
    return web.Response(status=HTTPStatus.NO_CONTENT)


def _id(request: web.Request) -> int:
    """Raises HTTPNotFound: what is no id is no product either."""
    product_id = read_id(request.match_info["id"])
    if product_id is None:
        raise web.HTTPNotFound
    return product_id


async def _body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise BadBody(f"the body is larger than {MAX_BODY_BYTES} bytes") from None


def _json(
    text: str, *, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> web.Response:
    return web.Response(text=text, status=status, content_type="application/json", headers=headers)
