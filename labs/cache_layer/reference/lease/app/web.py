"""The HTTP surface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Response

from app import cache, problems, table
from app.cache import Cache
from app.catalogue import Catalogue
from app.problems import problem
from app.products import Body, ProductId, ProductIds
from app.settings import Settings
from app.table import Table


def create_app(settings: Settings) -> FastAPI:
    """The whole service. Neither Redis nor Postgres is spoken to before a request needs them."""
    products = Cache(
        cache.connect(settings.redis_url), ttl_s=settings.ttl_s, negative_ttl_s=settings.negative_ttl_s
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with table.connect(settings.database_url) as pool:
            _add_products(app, Catalogue(products, Table(pool)))
            yield
        await products.close()

    app = FastAPI(lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    problems.install(app)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    return app


def _add_products(app: FastAPI, catalogue: Catalogue) -> None:
    @app.get("/products/{product_id}")
    async def get(product_id: ProductId) -> Response:
        found = await catalogue.get(product_id)
        headers = {"X-Cache": "hit" if found.hit else "miss"}
        if found.product is None:
            return problem(404, headers=headers)
        return _json(found.product, headers=headers)

    @app.get("/products")
    async def list_(ids: ProductIds) -> Response:
        return _json(f'{{"items":[{",".join(await catalogue.list(ids))}]}}')

    @app.put("/products/{product_id}")
    async def put(product_id: ProductId, body: Body) -> Response:
        written = await catalogue.put(product_id, body)
        return _json(written.product, status=201 if written.created else 200)

    @app.delete("/products/{product_id}")
    async def delete(product_id: ProductId) -> Response:
        return Response(status_code=204) if await catalogue.delete(product_id) else problem(404)


def _json(text: str, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(text, status, headers, media_type="application/json")
