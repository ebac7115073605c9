"""The HTTP surface."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from aiohttp import web

from app.limiter import SlidingCounter, connect
from app.limiting import rate_limiting
from app.problems import problem, problems
from app.settings import Settings

ITEM_ID = re.compile(r"[A-Za-z0-9-]+")


def create_app(settings: Settings) -> web.Application:
    """The whole service. Redis is not spoken to before the first request under /api/."""
    limiter = SlidingCounter(connect(settings.redis_url), limit=settings.limit, window_ms=settings.window_ms)
    app = web.Application(middlewares=[problems, rate_limiting(limiter, limit=settings.limit)])

    async def close_redis(_: web.Application) -> AsyncIterator[None]:
        yield
        await limiter.close()

    app.cleanup_ctx.append(close_redis)
    _add_routes(app, instance=settings.instance)
    return app


def _add_routes(app: web.Application, *, instance: str) -> None:
    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def ping(_: web.Request) -> web.Response:
        return web.json_response({"pong": True, "instance": instance})

    async def item(request: web.Request) -> web.Response:
        item_id = request.match_info["item_id"]
        if not ITEM_ID.fullmatch(item_id):
            return problem(400, detail="an item's id has letters, digits and - only")
        return web.json_response({"id": item_id, "instance": instance})

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/api/ping", ping)
    app.router.add_get("/api/items/{item_id}", item)
