"""The API: its routes and what they answer.

Nothing limits it yet. A limiter belongs in front of all of `/api/`, whatever the route, which in
aiohttp is a middleware beside `problems_as_json`.
"""

from __future__ import annotations

from aiohttp import web

from app.problems import problems_as_json
from app.settings import Settings

SETTINGS = web.AppKey("settings", Settings)

routes = web.RouteTableDef()


def create_app(settings: Settings) -> web.Application:
    app = web.Application(middlewares=[problems_as_json])
    app[SETTINGS] = settings
    app.add_routes(routes)
    return app


@routes.get("/healthz")
async def healthz(_request: web.Request) -> web.Response:
    """Says that this process takes traffic; it says nothing of Redis, and must not depend on it."""
    return web.json_response({"status": "ok"})


@routes.get("/api/ping")
async def ping(request: web.Request) -> web.Response:
    return web.json_response({"pong": True, "instance": request.app[SETTINGS].instance})


@routes.get("/api/items/{id:[A-Za-z0-9-]+}")
async def item(request: web.Request) -> web.Response:
    body = {"id": request.match_info["id"], "instance": request.app[SETTINGS].instance}
    return web.json_response(body)
