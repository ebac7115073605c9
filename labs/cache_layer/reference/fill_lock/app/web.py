"""The HTTP surface."""

from __future__ import annotations

from flask import Flask, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from app import cache, problems
from app.cache import Cache
from app.catalogue import Catalogue
from app.connections import Connections
from app.problems import problem
from app.products import MAX_BODY_BYTES, InvalidRequest, check_body, parse_id, parse_ids
from app.settings import Settings
from app.table import CONNECTIONS, Table


def create_app(settings: Settings, *, threads: int) -> Flask:
    """The whole service. Neither Redis nor Postgres is spoken to before a request needs them."""
    redis = cache.connect(settings.redis_url, connections=threads)
    products = Cache(redis, ttl_s=settings.ttl_s, negative_ttl_s=settings.negative_ttl_s)
    table = Table(Connections(settings.database_url, size=CONNECTIONS))
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    problems.install(app)
    _add_routes(app, Catalogue(products, table))
    return app


def _add_routes(app: Flask, catalogue: Catalogue) -> None:
    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/products/<product_id>")
    def get(product_id: str) -> Response:
        found = catalogue.get(parse_id(product_id))
        headers = {"X-Cache": "hit" if found.hit else "miss"}
        if found.product is None:
            return problem(404, headers=headers)
        return _json(found.product, headers=headers)

    @app.get("/products")
    def list_() -> Response:
        products = catalogue.list(parse_ids(request.args.get("ids", "")))
        return _json(f'{{"items":[{",".join(products)}]}}')

    @app.put("/products/<product_id>")
    def put(product_id: str) -> Response:
        written = catalogue.put(parse_id(product_id), check_body(_body()))
        return _json(written.product, status=201 if written.created else 200)

    @app.delete("/products/<product_id>")
    def delete(product_id: str) -> Response:
        return Response(status=204) if catalogue.delete(parse_id(product_id)) else problem(404)


def _body() -> bytes:
    try:
        return request.get_data()
    except RequestEntityTooLarge:
        raise InvalidRequest(f"a body has at most {MAX_BODY_BYTES} bytes") from None


def _json(text: str, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(text, status, headers, content_type="application/json")
